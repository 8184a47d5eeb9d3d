#include "model/declared_model.h"

#include "model/families.h"

namespace dak {
namespace {

// One token more than logits are wanted of, so that operations on either kind of rows differ.
constexpr int64_t kTracedRows = 2;
constexpr int64_t kTracedLogits = 1;

// Runs the pass on shapes alone: nothing is computed or read.
std::vector<Step> trace(const Model& model, const ModelConfig& config, const Program& declared) {
  const Weights weights = Weights::shapes_of(declared);
  Workspace work = Workspace::shapes_of(declared, kTracedRows, kTracedLogits);
  const KvPageTable pages(static_cast<size_t>(config.layers), {KvPage{}});
  const Batch batch{.tokens = {0, 0},
                    .positions = {0, 1},
                    .sequences = {{.pages = &pages, .past = 0, .rows = kTracedRows}},
                    .logit_rows = {kTracedRows - 1}};
  PassNotes notes(kTracedRows);
  OpContext ctx;
  ctx.notes = &notes;
  model.forward(ctx, weights, batch, work);
  return notes.steps();
}

}  // namespace

DeclaredModel declare_model(const ModelConfig& config, Naming naming) {
  DeclaredModel declared;
  declared.model = family_named(config.family).make(config, naming, declared.program);
  declared.program.steps = trace(*declared.model, config, declared.program);
  return declared;
}

Program program_of(const ModelConfig& config, Naming naming) {
  return declare_model(config, naming).program;
}

}  // namespace dak
