// A model before anything is loaded: how it runs and what that takes.
#pragma once

#include <memory>

#include "model/config.h"
#include "model/model.h"
#include "model/weights.h"
#include "pass/program.h"

namespace dak {

struct DeclaredModel {
  std::unique_ptr<Model> model;
  Program program;
};

// Declares the family's weights, by the tensor names of `naming`, and traces its forward pass.
DeclaredModel declare_model(const ModelConfig& config, Naming naming);

// Its Program alone. Names of stored tensors are all that `naming` changes.
Program program_of(const ModelConfig& config, Naming naming = Naming::kHuggingFace);

}  // namespace dak
