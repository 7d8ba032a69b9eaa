#include "program/executor.hpp"

#include <algorithm>
#include <cstring>

#include "cpu/arena.hpp"
#include "program/convert.hpp"

namespace lic_fast::program {
namespace {

// Behind the arena, for vectors that are read whole.
constexpr std::size_t kBeyond = 64;

/// Rows of an input that a caller gives when they are needed, which are there now.
struct Given {
  std::vector<std::uint8_t> numbers;
  Rows rows;
};

/// What rows of a map are read from, of which the last turn's end where these begin.
Picture<const std::uint8_t> fetch(const PictureRows<std::uint8_t>& from, Rows rows, Given& given) {
  const std::size_t row = from.frame.size.width * kColours;
  const Rows needed{from.frame.nearest(rows.begin), from.frame.nearest(rows.end - 1) + 1};
  // The last row can be needed again, as the padding repeats it.
  const std::size_t kept = given.rows.end - std::min(given.rows.end, needed.begin);
  if (kept > 0) {
    std::memmove(given.numbers.data(), given.numbers.data() + (given.rows.count() - kept) * row,
                 kept * row);
  }
  given.numbers.resize(needed.count() * row);
  given.rows = needed;
  if (kept < needed.count()) {
    from.call(needed.begin + kept, needed.count() - kept, given.numbers.data() + kept * row);
  }
  return {given.numbers.data(), row, kColours, 1, from.frame, needed.begin};
}

class Execution {
 public:
  Execution(const Graph& graph, const Plan& plan, char* memory)
      : graph_(graph),
        plan_(plan),
        memory_(memory),
        origins_(plan.stores.size(), 0),
        given_(graph.inputs.size()) {}

  bool finite() const { return finite_; }

  void run(const PlannedTurn& turn, const std::vector<Source>& inputs,
           const std::vector<Target>& outputs, cpu::Isa isa, unsigned threads) {
    const Step& step = graph_.steps[turn.step];
    const Size size = plan_.shapes.output(turn.step);
    if (step.kind != Step::Kind::kOutput) open(turn);
    const View output = view(step.output);
    if (step.kind == Step::Kind::kInput) {
      const Source& source = inputs[step.index];
      const auto copy = [&](const auto& from) {
        read(from, output, turn.rows, size.width, graph_.bfloat16, threads);
      };
      if (const auto* const rows = std::get_if<PictureRows<std::uint8_t>>(&source)) {
        copy(fetch(*rows, turn.rows, given_[step.index]));
      } else if (const auto* const picture = std::get_if<Picture<const std::uint8_t>>(&source)) {
        copy(*picture);
      } else {
        copy(std::get<Array<const float>>(source));
      }
      return;
    }
    if (step.kind == Step::Kind::kOutput) {
      const Target& target = outputs[step.index];
      const auto copy = [&](const auto& to) {
        return write(output, to, turn.rows, size.width, graph_.bfloat16, threads);
      };
      if (const auto* const rows = std::get_if<PictureRows<const std::uint8_t>>(&target)) {
        const Rows inside = rows->frame.inside(turn.rows);
        const std::size_t row = rows->frame.size.width * kColours;
        std::vector<std::uint8_t> numbers(inside.count() * row);
        finite_ &= copy(
            Picture<std::uint8_t>{numbers.data(), row, kColours, 1, rows->frame, inside.begin});
        if (inside.count() > 0) rows->call(inside.begin, inside.count(), numbers.data());
      } else if (const auto* const picture = std::get_if<Picture<std::uint8_t>>(&target)) {
        finite_ &= copy(*picture);
      } else {
        copy(std::get<Array<float>>(target));
      }
      return;
    }
    Call call{{},     plan_.shapes.inputs(turn.step), output, size, graph_.bfloat16, false, isa,
              threads};
    for (const MapId x : step.inputs) call.inputs.push_back(view(graph_.maps[x]));
    call.whole = turn.rows.begin == 0 && turn.rows.end == size.height;
    step.node->run(call, turn.rows);
  }

 private:
  /// Has the window of the turn's output be where the rows that it writes fit.
  void open(const PlannedTurn& turn) {
    const std::size_t index = plan_.bases[graph_.steps[turn.step].output.base].store;
    const Store& store = plan_.stores[index];
    if (turn.moved.count() > 0) {
      char* const begin = memory_ + store.offset;
      std::memmove(begin, begin + (turn.moved.begin - origins_[index]) * store.row,
                   turn.moved.count() * store.row);
    }
    origins_[index] = turn.origin;
  }

  View view(const Place& place) const {
    const Location& at = plan_.bases[place.base];
    const Store& store = plan_.stores[at.store];
    const std::size_t first = (at.first + place.first) * graph_.item();
    return {memory_ + store.offset + first, origins_[at.store], store.row / graph_.item(),
            store.channels, place.channels};
  }

  const Graph& graph_;
  const Plan& plan_;
  char* const memory_;
  std::vector<std::size_t> origins_;  // the row at the begin of each store
  std::vector<Given> given_;          // of each input
  bool finite_ = true;
};

}  // namespace

bool execute(const Graph& graph, const Plan& plan, const std::vector<Source>& inputs,
             const std::vector<Target>& outputs, cpu::Isa isa, unsigned threads) {
  const cpu::ArenaPool::Arena arena(cpu::ArenaPool::maps, plan.bytes + kBeyond);
  Execution execution(graph, plan, arena.data());
  for (const PlannedTurn& turn : plan.turns) execution.run(turn, inputs, outputs, isa, threads);
  return execution.finite();
}

}  // namespace lic_fast::program
