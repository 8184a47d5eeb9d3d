#include "model/synthetic.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/progress_counter.h"
#include "model/loader.h"

namespace dak {
namespace {

constexpr int64_t kMostRunBytes = int64_t{64} << 20;  // at once, so that progress moves
constexpr float kNormHalfWidth = 0.1f;
constexpr float kBiasHalfWidth = 0.02f;

// FNV-1a of the name: a generator of its own for each tensor.
uint64_t tensor_seed(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return seed ^ hash;
}

class Generator {
 public:
  Generator(uint64_t seed, int64_t total_bytes, const ProgressFn& report)
      : seed_(seed), progress_("making synthetic weights", total_bytes, report) {}

  void fill_matrix(const TieredTensor& tensor, ThreadPool& pool, Weights& weights) {
    const auto blocks = static_cast<int64_t>(tensor.blocks.size());
    pool.parallel_for(blocks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t block = begin; block < end;) {
        Arena& arena = weights.arena(tensor.blocks[static_cast<size_t>(block)].tier);
        const int64_t run = full_run(tensor, block, end);
        if (run > 0) {
          arena.fill_random(data_of(tensor, block), values_of(tensor, block, run));
        } else {
          fill_padded(tensor, block, arena);
        }
        block += std::max<int64_t>(run, 1);
        progress_.add(std::max<int64_t>(run, 1) * row_block_bytes(tensor.cols, tensor.dtype));
      }
    });
  }

  void fill_vector(const VectorDecl& spec, std::byte* data, Weights& weights) {
    const bool bias = spec.role == VectorRole::kBias;
    weights.arena(0).fill_random(data, {.seed = tensor_seed(seed_, spec.name()),
                                        .count = spec.size(),
                                        .dtype = DType::kF32,
                                        .centre = bias ? 0.0f : 1.0f,
                                        .half_width = bias ? kBiasHalfWidth : kNormHalfWidth});
    progress_.add(bytes_of(DType::kF32, spec.size()));
  }

 private:
  static std::byte* data_of(const TieredTensor& tensor, int64_t block) {
    return tensor.blocks[static_cast<size_t>(block)].data;
  }

  static bool is_padded(const TieredTensor& tensor, int64_t block) {
    if (tensor.layout == WeightLayout::kRowMajor)
      return tensor.rows_in_block(block) < kRowBlockRows;
    return tensor.cols % kChunkCols != 0 || tensor.rows_in_block(block) < kRowBlockRows;
  }

  // Blocks from `block` on, before `end`, that lie one behind the other without padding.
  static int64_t full_run(const TieredTensor& tensor, int64_t block, int64_t end) {
    const int64_t bytes = tensor.block_bytes();
    const int64_t most = std::max<int64_t>(1, kMostRunBytes / bytes);
    const RowBlock& first = tensor.blocks[static_cast<size_t>(block)];
    int64_t run = 0;
    while (run < most && block + run < end && !is_padded(tensor, block + run)) {
      const RowBlock& next = tensor.blocks[static_cast<size_t>(block + run)];
      if (next.tier != first.tier || next.data != first.data + run * bytes) break;
      ++run;
    }
    return run;
  }

  // Numbered by their place in memory: a row-major matrix holds other values than a packed one.
  RandomValues values_of(const TieredTensor& tensor, int64_t block, int64_t blocks) const {
    const int64_t elements = tensor.block_bytes() / bytes_of(tensor.dtype, 1);
    return {.seed = tensor_seed(seed_, tensor.name),
            .first_index = block * elements,
            .count = blocks * elements,
            .dtype = tensor.dtype,
            .half_width = std::sqrt(3.0f / static_cast<float>(tensor.cols))};
  }

  // Rare in large models, so made by the CPU whatever the arena.
  void fill_padded(const TieredTensor& tensor, int64_t block, Arena& arena) const {
    std::vector<std::byte> packed(static_cast<size_t>(tensor.block_bytes()));
    fill_random_cpu(packed.data(), values_of(tensor, block, 1));
    if (tensor.layout == WeightLayout::kPacked) {
      clear_padding(packed.data(), tensor.rows_in_block(block), tensor.cols, tensor.dtype);
    } else {
      packed.resize(static_cast<size_t>(tensor.bytes_in_block(block)));
    }
    arena.write(data_of(tensor, block), packed);
  }

  uint64_t seed_;
  ProgressCounter progress_;
};

}  // namespace

void load_synthetic(const Program& program, const Plan& plan, uint64_t seed, ThreadPool& pool,
                    const ProgressFn& progress, Weights& weights) {
  Generator generator(seed, bytes_to_load(program, plan), progress);
  for (const VectorId id : program.vector_ids()) {
    generator.fill_vector(program.vector(id), place_vector(program, id, weights), weights);
  }
  for (const MatrixId id : program.matrix_ids()) {
    generator.fill_matrix(place_matrix(program, id, plan, weights), pool, weights);
  }
}

}  // namespace dak
