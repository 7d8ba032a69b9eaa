#include "program/program.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

namespace lic_fast::program {
namespace {

// Plans that are kept: a picture's networks, or a few sizes of pictures in turn.
constexpr std::size_t kPlans = 8;

/// What LIC_FAST_BAND_ROWS says, or 0.
std::size_t band_rows_of_environment() {
  const char* const text = std::getenv("LIC_FAST_BAND_ROWS");
  if (text == nullptr || *text == '\0') return 0;
  char* end = nullptr;
  const long rows = std::strtol(text, &end, 10);
  if (*end != '\0' || rows < 0) {
    throw std::invalid_argument("LIC_FAST_BAND_ROWS must be a number of rows, not '" +
                                std::string(text) + "'");
  }
  return static_cast<std::size_t>(rows);
}

}  // namespace

std::vector<Size> Program::output_sizes(const std::vector<Size>& inputs) const {
  const Shapes shapes(graph_, inputs);
  std::vector<Size> sizes(graph_.outputs.size());
  for (std::size_t s = 0; s < graph_.steps.size(); ++s) {
    const Step& step = graph_.steps[s];
    if (step.kind == Step::Kind::kOutput) sizes[step.index] = shapes.output(s);
  }
  return sizes;
}

std::shared_ptr<const Plan> Program::plan(const std::vector<Size>& sizes, std::size_t band_rows,
                                          cpu::Isa isa, unsigned threads) const {
  if (band_rows == 0) band_rows = band_rows_of_environment();
  Key key{{}, band_rows, isa};
  for (const Size& size : sizes) std::get<0>(key).push_back({size.height, size.width});
  Plans& plans = plans_.get();
  auto& last = plans.last;
  {
    const std::lock_guard<std::mutex> lock(plans.mutex);
    const auto known = std::find_if(last.begin(), last.end(),
                                    [&](const auto& entry) { return entry.first == key; });
    if (known != last.end()) {
      last.splice(last.begin(), last, known);
      return known->second;
    }
  }
  const Shapes shapes(graph_, sizes);
  const std::size_t driver = driver_of(graph_, shapes);
  std::size_t bands = default_bands(graph_, shapes, driver);
  if (band_rows > 0) {
    const std::size_t height = output_sizes(sizes).front().height;
    bands = height / band_rows + (height % band_rows > 0 ? 1 : 0);
  }
  const auto planned = [&](std::size_t count) {
    return std::make_shared<const Plan>(
        make_plan(graph_, shapes, make_schedule(graph_, shapes, driver, count)));
  };
  auto made = planned(bands);
  if (band_rows == 0 && bands > 1) {
    // Maps with rows that are kept have memory of their own: a few bands can need more than one.
    auto whole = planned(1);
    if (whole->bytes <= made->bytes) made = std::move(whole);
  }
  for (std::size_t s = 0; s < graph_.steps.size(); ++s) {
    const Step& step = graph_.steps[s];
    if (step.node) step.node->prepare(shapes.inputs(s), graph_.bfloat16, isa, threads);
  }
  const std::lock_guard<std::mutex> lock(plans.mutex);
  last.push_front({std::move(key), made});
  if (last.size() > kPlans) last.pop_back();
  return made;
}

bool Program::run(const std::vector<Size>& sizes, const std::vector<Source>& inputs,
                  const std::vector<Target>& outputs, std::size_t band_rows, cpu::Isa isa,
                  unsigned threads) const {
  return execute(graph_, *plan(sizes, band_rows, isa, threads), inputs, outputs, isa, threads);
}

std::size_t Program::memory(const std::vector<Size>& sizes, std::size_t band_rows, cpu::Isa isa,
                            unsigned threads) const {
  return plan(sizes, band_rows, isa, threads)->bytes;
}

std::vector<Description> Program::describe(const std::vector<Size>& inputs, cpu::Isa isa) const {
  const Shapes shapes(graph_, inputs);
  std::vector<Description> nodes;
  for (std::size_t s = 0; s < graph_.steps.size(); ++s) {
    const Step& step = graph_.steps[s];
    if (!step.node) continue;
    nodes.push_back({step.node->kind(), step.node->kernel(shapes.inputs(s), graph_.bfloat16, isa),
                     shapes.output(s), step.output.channels});
  }
  return nodes;
}

}  // namespace lic_fast::program
