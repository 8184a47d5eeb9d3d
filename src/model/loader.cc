#include "model/loader.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "base/progress_counter.h"

namespace dak {
namespace {

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (const int64_t dim : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(dim);
  return text + "]";
}

const StoredTensor& tensor_of(const Checkpoint& checkpoint, const WeightPart& part) {
  const StoredTensor* found = find_tensor(checkpoint, part.tensor);
  require(found != nullptr, "check_checkpoint was not called");
  return *found;
}

void check_part(const Checkpoint& checkpoint, std::string_view where, const WeightPart& part,
                const std::vector<int64_t>& expected) {
  const StoredTensor* tensor = find_tensor(checkpoint, part.tensor);
  if (tensor == nullptr) {
    throw Error(ErrorCode::kNotFound, {.where = std::string(where),
                                       .field = "tensor",
                                       .value = part.tensor,
                                       .problem = "is missing",
                                       .fix = "the files are of another model than their "
                                              "configuration, or a part of it was left out"});
  }
  if (tensor->shape != expected) {
    throw_corrupt(checkpoint.file_of(*tensor), part.tensor, shape_text(tensor->shape),
                  fmt::format("should be {} by the configuration", shape_text(expected)),
                  "weights and configuration are of different models");
  }
  checkpoint.check_readable(*tensor);
}

void check_values(const Checkpoint& checkpoint, const StoredTensor& tensor, int64_t row,
                  std::span<const float> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    throw_corrupt(checkpoint.file_of(tensor), tensor.name, fmt::format("{}", values[i]),
                  fmt::format("is not finite (row {}, column {})",
                              row + static_cast<int64_t>(i) / tensor.cols(),
                              static_cast<int64_t>(i) % tensor.cols()),
                  "the weights were saved with it");
  }
}

// Values one behind the other as `dtype`, f16 or bf16.
void store_rows(const float* values, int64_t count, DType dtype, std::byte* out) {
  auto* stored = reinterpret_cast<uint16_t*>(out);
  for (int64_t i = 0; i < count; ++i) {
    stored[i] = f32_to_half(dtype, values[i]);
  }
}

class Loader {
 public:
  Loader(const Checkpoint& checkpoint, const LoadOptions& options, int64_t total_bytes)
      : checkpoint_(checkpoint),
        options_(options),
        progress_("loading weights", total_bytes, options.progress) {}

  void load_matrix(const MatrixDecl& spec, const TieredTensor& added, ThreadPool& pool,
                   Weights& weights) {
    pool.parallel_for(std::ssize(added.blocks), 1, [&](int64_t begin, int64_t end, int) {
      std::vector<float> rows(static_cast<size_t>(kRowBlockRows * spec.cols));
      std::vector<std::byte> packed;  // for arenas that the CPU cannot write to
      for (int64_t block = begin; block < end; ++block) {
        load_block(spec, added, block, rows, packed,
                   weights.arena(added.blocks[static_cast<size_t>(block)].tier));
      }
    });
  }

  void load_vector(const VectorDecl& spec, std::byte* data, Weights& weights) {
    std::vector<float> loaded(static_cast<size_t>(spec.size()));
    float* values = loaded.data();
    for (const WeightPart& part : spec.parts) {
      const std::span<float> out(values, static_cast<size_t>(part.rows));
      read_rows(tensor_of(checkpoint_, part), 0, 1, out);
      if (part.rope_pair_heads > 0) unpair(part, out);
      values += part.rows;
    }
    weights.arena(0).write(data, std::as_bytes(std::span(loaded)));
    progress_.add(bytes_of(DType::kF32, spec.size()));
  }

 private:
  void load_block(const MatrixDecl& spec, const TieredTensor& tensor, int64_t block,
                  std::vector<float>& rows, std::vector<std::byte>& packed, Arena& arena) {
    const int64_t first = block * kRowBlockRows;
    const int64_t count = tensor.rows_in_block(block);
    for (int64_t row = 0; row < count;) {
      // The longest run that is consecutive in the file as well.
      const MatrixDecl::SourceRow source = spec.source_of(first + row);
      int64_t run = 1;
      while (row + run < count) {
        const MatrixDecl::SourceRow next = spec.source_of(first + row + run);
        if (next.part != source.part || next.row != source.row + run) break;
        ++run;
      }
      read_rows(tensor_of(checkpoint_, spec.parts[source.part]), source.row, run,
                std::span(rows).subspan(static_cast<size_t>(row * spec.cols),
                                        static_cast<size_t>(run * spec.cols)));
      row += run;
    }
    std::byte* place = tensor.blocks[static_cast<size_t>(block)].data;
    const auto lay_out = [&](std::byte* out) {
      if (tensor.layout == WeightLayout::kRowMajor) {
        store_rows(rows.data(), count * spec.cols, tensor.dtype, out);
      } else {
        pack_row_block(rows.data(), count, spec.cols, tensor.dtype, out);
      }
    };
    if (arena.host_writable()) {
      lay_out(place);
    } else {
      packed.resize(static_cast<size_t>(tensor.bytes_in_block(block)));
      lay_out(packed.data());
      arena.write(place, packed);
    }
    progress_.add(row_block_bytes(tensor.cols, tensor.dtype));  // as the plan counts
  }

  void read_rows(const StoredTensor& tensor, int64_t first, int64_t count, std::span<float> out) {
    checkpoint_.read_rows(tensor, first, count, out);
    if (options_.check_finite) check_values(checkpoint_, tensor, first, out);
  }

  // A bias has the row order of its matrix.
  static void unpair(const WeightPart& part, std::span<float> values) {
    const MatrixDecl as_matrix{.part = {}, .cols = 1, .parts = {part}};
    const std::vector<float> stored(values.begin(), values.end());
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = stored[static_cast<size_t>(as_matrix.source_of(static_cast<int64_t>(i)).row)];
    }
  }

  const Checkpoint& checkpoint_;
  const LoadOptions& options_;
  ProgressCounter progress_;
};

}  // namespace

const StoredTensor* find_tensor(const Checkpoint& checkpoint, std::string_view name) {
  constexpr std::string_view kScope = "model.";
  const StoredTensor* found = checkpoint.find(name);
  if (found == nullptr && name.starts_with(kScope)) {
    found = checkpoint.find(name.substr(kScope.size()));
  }
  return found;
}

DType held_dtype(std::span<const DType> parts) {
  if (std::ranges::any_of(parts, is_quantised)) return DType::kBF16;
  const bool alike = std::ranges::all_of(parts, [&](DType part) { return part == parts[0]; });
  return alike ? parts[0] : DType::kF32;
}

std::vector<Operand> operands_of(const Program& program, std::optional<DType> dtype, DType stored,
                                 const Checkpoint* checkpoint) {
  const std::vector<bool> multiplied = program.matrices_of(StepKind::kProduct);
  std::vector<Operand> operands;
  for (const MatrixDecl& matrix : program.matrices) {
    std::vector<DType> parts;
    for (const WeightPart& part : matrix.parts) {
      const StoredTensor* tensor =
          checkpoint == nullptr ? nullptr : find_tensor(*checkpoint, part.tensor);
      parts.push_back(tensor == nullptr ? stored : tensor->dtype);
    }
    operands.push_back(
        {.name = matrix.name(),
         .kind = matrix.kind(),
         .use = multiplied[operands.size()] ? OperandUse::kMatmul : OperandUse::kLookup,
         .rows = matrix.rows(),
         .cols = matrix.cols,
         .dtype = dtype.value_or(held_dtype(parts)),
         .stored = parts.front()});
  }
  return operands;
}

int64_t vector_bytes_of(const Program& program) {
  int64_t total = 0;
  for (const VectorDecl& vector : program.vectors) {
    total += round_up_to_page(bytes_of(DType::kF32, vector.size()));
  }
  return total;
}

void check_checkpoint(const Program& program, const Checkpoint& checkpoint,
                      std::string_view where) {
  for (const MatrixDecl& matrix : program.matrices) {
    for (const WeightPart& part : matrix.parts) {
      check_part(checkpoint, where, part, {part.rows, matrix.cols});
    }
  }
  for (const VectorDecl& vector : program.vectors) {
    for (const WeightPart& part : vector.parts) check_part(checkpoint, where, part, {part.rows});
  }
}

const TieredTensor& place_matrix(const Program& program, MatrixId id, const Plan& plan,
                                 Weights& weights) {
  const MatrixDecl& matrix = program.matrix(id);
  const OperandPlan& placed = plan.operands.at(static_cast<size_t>(id.index));
  TieredTensor tensor{.name = matrix.name(),
                      .dtype = placed.operand.dtype,
                      .rows = matrix.rows(),
                      .cols = matrix.cols,
                      .blocks = {},
                      .layout = placed.operand.layout,
                      .kind = matrix.kind(),
                      .id = id.index};
  require(placed.operand.name == tensor.name, "a plan of another model");
  tensor.blocks.resize(static_cast<size_t>(placed.operand.blocks()));
  require(tensor.layout == WeightLayout::kPacked || placed.spans.size() == 1,
          "a row-major weight in several places");
  for (const TierSpan& span : placed.spans) {
    std::byte* data = weights.arena(span.tier).allocate(span.blocks * tensor.block_bytes());
    for (int64_t i = 0; i < span.blocks; ++i) {
      tensor.blocks[static_cast<size_t>(span.first_block + i)] = {
          .data = data + i * tensor.block_bytes(), .tier = span.tier};
    }
  }
  return weights.add_matrix(id, std::move(tensor));
}

std::byte* place_vector(const Program& program, VectorId id, Weights& weights) {
  const VectorDecl& vector = program.vector(id);
  std::byte* data = weights.arena(0).allocate(bytes_of(DType::kF32, vector.size()));
  weights.add_vector(id, reinterpret_cast<const float*>(data));
  return data;
}

int64_t bytes_to_load(const Program& program, const Plan& plan) {
  int64_t total = plan.weight_bytes();
  for (const VectorDecl& vector : program.vectors) {
    total += bytes_of(DType::kF32, vector.size());
  }
  return total;
}

void load_weights(const Program& program, const Checkpoint& checkpoint, const Plan& plan,
                  ThreadPool& pool, const LoadOptions& options, Weights& weights) {
  Loader loader(checkpoint, options, bytes_to_load(program, plan));
  for (const VectorId id : program.vector_ids()) {
    loader.load_vector(program.vector(id), place_vector(program, id, weights), weights);
  }
  for (const MatrixId id : program.matrix_ids()) {
    loader.load_matrix(program.matrix(id), place_matrix(program, id, plan, weights), pool, weights);
  }
}

}  // namespace dak
