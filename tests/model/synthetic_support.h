// Synthetic weights of a tiny configuration under a placement.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "model/declared_model.h"
#include "model/synthetic.h"

namespace dak::test {

struct SyntheticModel {
  // `path`: a config.json.
  SyntheticModel(const std::string& path, const EngineOptions& options, uint64_t seed,
                 int threads = 2)
      : files(open_model(path, /*need_weights=*/false)),
        declared(declare_model(files.config, files.naming)),
        plan(plan_model(files, options, cpu_tiers(1e9))),
        weights(make_arenas(unbounded(plan), options.device)),
        pool(threads) {
    load_synthetic(declared.program, plan, seed, pool, progress(), weights);
    EXPECT_EQ(done_bytes, total_bytes);
  }

  // A test's own workspace is beside the plan.
  static Plan unbounded(Plan plan) {
    for (Tier& tier : plan.tiers) tier.capacity_bytes = 0;
    return plan;
  }

  ProgressFn progress() {
    return [this](const Progress& report) {
      EXPECT_GT(report.done_bytes, done_bytes);
      done_bytes = report.done_bytes;
      total_bytes = report.total_bytes;
    };
  }

  ModelFiles files;
  DeclaredModel declared;
  Plan plan;
  Weights weights;
  ThreadPool pool;
  int64_t done_bytes = 0;
  int64_t total_bytes = -1;
};

using Bytes = std::vector<std::byte>;

// Every weight of a model in memory that the CPU reads, padding included, by name.
inline std::map<std::string, Bytes> bytes_of_weights(const SyntheticModel& model) {
  std::map<std::string, Bytes> all;
  for (const MatrixId id : model.declared.program.matrix_ids()) {
    const TieredTensor& tensor = model.weights.matrix(id);
    Bytes& bytes = all[tensor.name];
    for (const RowBlock& block : tensor.blocks) {
      bytes.insert(bytes.end(), block.data, block.data + tensor.block_bytes());
    }
  }
  for (const VectorId id : model.declared.program.vector_ids()) {
    const auto* data = reinterpret_cast<const std::byte*>(model.weights.vector(id));
    const VectorDecl& vector = model.declared.program.vector(id);
    all[vector.name()] = Bytes(data, data + bytes_of(DType::kF32, vector.size()));
  }
  return all;
}

}  // namespace dak::test
