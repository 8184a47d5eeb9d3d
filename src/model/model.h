// A model's forward pass. Its constructor declares what the pass needs, in a Program, and keeps the
// handles; it holds no weights.
#pragma once

#include <cstdint>
#include <span>

#include "base/tensor.h"
#include "model/batch.h"
#include "model/weights.h"
#include "model/workspace.h"
#include "ops/context.h"

namespace dak {

class Model {
 public:
  virtual ~Model() = default;

  // Runs `batch`, appends its keys and values to the cache and returns the logits of
  // batch.logit_rows, [rows, vocabulary] f32 in `work`. The batch fits `work`; token ids and
  // positions are in range (require). `weights` and `work` are of the model's Program.
  virtual Tensor forward(OpContext& ctx, const Weights& weights, const Batch& batch,
                         Workspace& work) const = 0;

  // The last thing that forward does: logits of `rows`, at most as many as `work` has room for, of
  // the batch that forward ran last in `work`. Alone for callers that want those of more rows.
  virtual Tensor logits(OpContext& ctx, const Weights& weights, std::span<const int32_t> rows,
                        Workspace& work) const = 0;
};

}  // namespace dak
