#include "program/executor.hpp"

#include <cstring>

#include "program/arena.hpp"
#include "program/convert.hpp"

namespace lic_fast::program {
namespace {

// Behind the arena, for vectors that are read whole.
constexpr std::size_t kBeyond = 64;

class Execution {
 public:
  Execution(const Graph& graph, const Plan& plan, char* memory)
      : graph_(graph), plan_(plan), memory_(memory), origins_(plan.stores.size(), 0) {}

  void run(const PlannedTurn& turn, const std::vector<Array<const float>>& inputs,
           const std::vector<Array<float>>& outputs, cpu::Isa isa, unsigned threads) {
    const Step& step = graph_.steps[turn.step];
    const Size size = plan_.shapes.output(turn.step);
    if (step.kind != Step::Kind::kOutput) open(turn);
    const View output = view(step.output);
    if (step.kind == Step::Kind::kInput) {
      read(inputs[step.index], output, turn.rows, size.width, graph_.bfloat16, threads);
      return;
    }
    if (step.kind == Step::Kind::kOutput) {
      write(output, outputs[step.index], turn.rows, size.width, graph_.bfloat16, threads);
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
};

}  // namespace

void execute(const Graph& graph, const Plan& plan, const std::vector<Array<const float>>& inputs,
             const std::vector<Array<float>>& outputs, cpu::Isa isa, unsigned threads) {
  const ArenaPool::Arena arena(plan.bytes + kBeyond);
  Execution execution(graph, plan, arena.data());
  for (const PlannedTurn& turn : plan.turns) execution.run(turn, inputs, outputs, isa, threads);
}

}  // namespace lic_fast::program
