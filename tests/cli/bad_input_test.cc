// Everything a user can get wrong: one line naming file, field, value and fix; a status that is not
// 0; nothing left behind; never a crash or a hang.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/half.h"
#include "hardware/presets.h"
#include "process.h"

namespace dak {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const fs::path kSharded = fs::path(kModels) / "hf" / "llama_mha";

std::string text_of(const fs::path& path) { return read_text_file(path); }
void write(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// A copy of a model under the test's own folder.
fs::path copy_of(const fs::path& model, const fs::path& folder) {
  const fs::path copy = folder / model.filename();
  fs::copy(model, copy, fs::copy_options::recursive);
  return copy;
}

fs::path with_json(const fs::path& folder, const char* file,
                   const std::function<void(Json&)>& edit) {
  const fs::path copy = copy_of(kFolder, folder);
  Json json = Json::parse(text_of(copy / file));
  edit(json);
  write(copy / file, json.dump());
  return copy;
}

fs::path with_gguf(const fs::path& folder, const std::function<void(std::string&)>& edit) {
  const fs::path copy = copy_of(kGguf, folder);
  std::string bytes = text_of(copy);
  edit(bytes);
  write(copy, bytes);
  return copy;
}

// The header of model.safetensors edited as JSON, its length field made to match.
fs::path with_safetensors(const fs::path& folder, const std::function<void(Json&)>& edit) {
  const fs::path copy = copy_of(kFolder, folder);
  const std::string bytes = text_of(copy / "model.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof(length));
  Json header = Json::parse(bytes.substr(8, length));
  edit(header);
  const std::string text = header.dump();
  const auto new_length = static_cast<uint64_t>(text.size());
  std::string out(8, '\0');
  std::memcpy(out.data(), &new_length, sizeof(new_length));
  write(copy / "model.safetensors", out + text + bytes.substr(8 + length));
  return copy;
}

// Replaces a key or value of the same length inside the metadata.
void replace(std::string& bytes, const std::string& from, const std::string& to) {
  ASSERT_EQ(from.size(), to.size());
  const size_t at = bytes.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  bytes.replace(at, from.size(), to);
}

using Arguments = std::vector<std::string>;

struct Case {
  const char* name;
  // Makes what is wrong in the folder and returns the command line.
  std::function<Arguments(const fs::path& folder)> make;
  // All of these are in the message: the file or flag, the field, the value, the fix.
  std::vector<std::string> expected;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

// On the CPU, unless `more` says otherwise.
Arguments run_on(const fs::path& model, const Arguments& more = {}) {
  Arguments arguments{"run", model.string(), "-p", "hi", "--max-tokens", "2"};
  if (std::ranges::find(more, "--device") == more.end()) {
    arguments.insert(arguments.end(), {"--device", "cpu"});
  }
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

Case flag_case(const char* name, const Arguments& flags, std::vector<std::string> expected) {
  return {name, [flags](const fs::path&) { return run_on(kGguf, flags); }, std::move(expected)};
}

Case serve_case(const char* name, const Arguments& flags, std::vector<std::string> expected) {
  return {name,
          [flags](const fs::path&) {
            Arguments arguments{"serve", kGguf, "--device", "cpu", "--port", "0"};
            arguments.insert(arguments.end(), flags.begin(), flags.end());
            return arguments;
          },
          std::move(expected)};
}

Case config_case(const char* name, const std::function<void(Json&)>& edit,
                 std::vector<std::string> expected) {
  expected.push_back("config.json");
  return {name,
          [edit](const fs::path& folder) { return run_on(with_json(folder, "config.json", edit)); },
          std::move(expected)};
}

Case header_case(const char* name, const std::function<void(Json&)>& edit,
                 std::vector<std::string> expected) {
  expected.push_back("model.safetensors");
  return {name, [edit](const fs::path& folder) { return run_on(with_safetensors(folder, edit)); },
          std::move(expected)};
}

Case gguf_case(const char* name, const std::function<void(std::string&)>& edit,
               std::vector<std::string> expected) {
  expected.push_back("llama_mixed.gguf");
  return {name, [edit](const fs::path& folder) { return run_on(with_gguf(folder, edit)); },
          std::move(expected)};
}

Case plan_case(const char* name, const Arguments& flags, std::vector<std::string> expected) {
  return {name,
          [flags](const fs::path&) {
            Arguments arguments{"plan", kFolder + "/config.json"};
            if (std::ranges::find(flags, "--hardware") == flags.end()) {
              arguments.insert(arguments.end(), {"--device", "cpu"});
            }
            arguments.insert(arguments.end(), flags.begin(), flags.end());
            return arguments;
          },
          std::move(expected)};
}

// A profile of dak probe's, edited.
Case hardware_case(const char* name, const std::function<void(Json&)>& edit,
                   std::vector<std::string> expected) {
  expected.push_back("machine.json");
  return {name,
          [edit](const fs::path& folder) {
            Json json = hardware_named("h100");
            edit(json);
            write(folder / "machine.json", json.dump());
            return Arguments{"plan", kFolder + "/config.json", "--hardware",
                             (folder / "machine.json").string()};
          },
          std::move(expected)};
}

Json& first_tensor(Json& header) {
  for (auto& [name, entry] : header.items()) {
    if (name != "__metadata__" && entry["shape"].size() == 2) return entry;
  }
  throw std::runtime_error("no tensor");
}

std::vector<Case> cases() {
  const std::string q_proj = "model.layers.0.self_attn.q_proj.weight";
  return {
      // The command line.
      {"no_command", [](const fs::path&) { return Arguments{}; }, {"dak --help"}},
      {"unknown_command", [](const fs::path&) { return Arguments{"fly"}; }, {"fly", "--help"}},
      {"no_model", [](const fs::path&) { return Arguments{"run"}; }, {"MODEL"}},
      flag_case("unknown_flag", {"--frobnicate"}, {"--frobnicate"}),
      flag_case("flag_without_value", {"--context"}, {"--context"}),
      flag_case("context_not_a_number", {"--context", "many"}, {"--context", "many"}),
      flag_case("context_beyond_model", {"--context", "100000"}, {"--context", "100000"}),
      flag_case("context_negative", {"--context", "-5"}, {"--context", "-5"}),
      flag_case("budget_not_a_size", {"--local-budget", "lots"},
                {"--local-budget", "lots", "24GiB"}),
      flag_case("budget_too_small", {"--local-budget", "10k"},
                {"--local-budget", "10.0 KiB", "too small", "at least"}),
      flag_case("ratio_above_one", {"--offload-ratio", "1.5"}, {"--offload-ratio", "1.5"}),
      flag_case("ratio_nan", {"--offload-ratio", "nan"}, {"--offload-ratio"}),
      flag_case("ratio_and_budget", {"--offload-ratio", "0.5", "--local-budget", "1g"},
                {"--offload-ratio", "--local-budget"}),
      flag_case("unknown_device", {"--device", "tpu"}, {"--device", "tpu", "cuda:N"}),
      flag_case("impossible_gpu", {"--device", "cuda:999"}, {"--device", "cuda:999"}),
      flag_case("unknown_kernels", {"--kernels", "fast"}, {"--kernels", "fast", "plain"}),
      flag_case("kernels_on_the_cpu", {"--kernels", "plain"}, {"--kernels", "plain", "CPU"}),
      flag_case("kernels_without_a_gpu", {"--device", "cuda:999", "--kernels", "tma"},
                {"--device", "cuda:999"}),
      flag_case("unknown_dtype", {"--dtype", "int3"}, {"--dtype", "int3", "bf16"}),
      flag_case("unknown_kv_dtype", {"--kv-dtype", "q4"}, {"--kv-dtype", "q4"}),
      flag_case("unknown_mode", {"--mode", "magic"}, {"--mode", "magic", "direct", "uva"}),
      flag_case("prefetch_on_the_cpu", {"--mode", "prefetch"}, {"--mode", "prefetch", "CPU"}),
      flag_case("uva_on_the_cpu", {"--mode", "uva"}, {"--mode", "uva", "CPU"}),
      flag_case("window_on_the_cpu", {"--window", "1m"}, {"--window", "1.00 MiB", "CPU"}),
      flag_case("kv_ratio_above_one", {"--kv-ratio", "1.5"}, {"--kv-ratio", "1.5", "0 to 1"}),
      flag_case("kv_ratio_without_host_memory",
                {"--kv-ratio", "0.5", "--host-budget", "1000B", "--offload-ratio", "0"},
                {"--kv-ratio", "host"}),
      flag_case("window_not_a_size", {"--window", "wide"}, {"--window", "wide"}),
      flag_case("resident_and_offloaded", {"--mode", "resident", "--offload-ratio", "0.5"},
                {"--offload-ratio", "0.5", "resident"}),
      flag_case("unknown_placement", {"--placement", "clever"},
                {"--placement", "clever", "greedy"}),
      flag_case("seed_not_a_number", {"--synthetic=lots"}, {"--synthetic", "lots"}),
      flag_case("seed_negative", {"--synthetic=-1"}, {"--synthetic", "-1"}),
      flag_case("synthetic_weights_checked", {"--synthetic", "--check-weights"},
                {"--check-weights", "--synthetic"}),
      flag_case("threads_negative", {"--threads", "-1"}, {"--threads", "-1"}),
      flag_case("temperature_negative", {"--temperature", "-1"}, {"temperature", "-1"}),
      flag_case("top_p_above_one", {"--top-p", "2"}, {"top_p", "2"}),
      flag_case("min_p_negative", {"--min-p", "-0.5"}, {"min_p", "-0.5"}),
      flag_case("repetition_penalty_zero", {"--repetition-penalty", "0"}, {"repetition_penalty"}),
      flag_case("max_tokens_negative", {"--max-tokens", "-3"}, {"--max-tokens"}),
      flag_case("empty_stop", {"--stop", ""}, {"stop"}),
      {"empty_prompt",
       [](const fs::path&) {
         return Arguments{"run", kGguf, "--device", "cpu", "--raw", "-p", ""};
       },
       {"prompt", "empty"}},
      {"prompt_beyond_context",
       [](const fs::path&) {
         return Arguments{"run",       kGguf, "--device", "cpu",
                          "--context", "64",  "-p",       std::string(2000, 'x')};
       },
       {"prompt", "tokens", "64", "--context"}},
      // dak plan and dak probe.
      plan_case("unknown_hardware", {"--hardware", "h9000"}, {"--hardware", "h9000", "gh200"}),
      plan_case("hardware_and_device", {"--hardware", "h100", "--device", "cpu"},
                {"--hardware", "--device"}),
      plan_case("workload_does_not_parse", {"--workload", "decode:batch=many"},
                {"--workload", "character 14", "many", "decode:batch=32"}),
      plan_case("workload_of_no_phase", {"--workload", "decode + sleep"},
                {"--workload", "character 10", "sleep"}),
      plan_case("workload_beyond_model", {"--workload", "prefill:100k"},
                {"--workload", "prefill:100k", "102400"}),
      plan_case("workload_beyond_context", {"--workload", "prefill:200", "--context", "100"},
                {"--context", "100", "200", "--workload"}),
      plan_case("compare_one", {"--compare", "greedy"}, {"--compare", "uniform,greedy"}),
      plan_case("compare_unknown", {"--compare", "greedy,magic"}, {"--compare", "magic"}),
      plan_case("svg_in_no_folder", {"--svg", "/nonexistent/plan.svg"},
                {"--svg", "/nonexistent/plan.svg", "folder"}),
      plan_case("budget_below_the_minimum", {"--hardware", "h100", "--hbm-budget", "1k"},
                {"1.00 KiB", "too small", "at least"}),
      hardware_case("hardware_is_something_else",
                    [](Json& json) {
                      json = {{"a", 1}};
                    },
                    {"format"}),
      hardware_case("hardware_of_another_version", [](Json& json) { json["version"] = 7; },
                    {"version", "7", "dak probe"}),
      hardware_case("hardware_with_unknown_field", [](Json& json) { json["cores"] = 7; },
                    {"cores", "7"}),
      hardware_case("hardware_with_impossible_number",
                    [](Json& json) { json["tiers"][1]["read_gb_s"] = -3; },
                    {"tiers[1].read_gb_s", "-3"}),
      plan_case("workload_twice_its_setting", {"--workload", "decode:batch=1,batch=2"},
                {"--workload", "batch"}),
      plan_case("workload_of_nothing", {"--workload", "prefill:0"}, {"--workload", "0"}),
      {"bench_workload_does_not_parse",
       [](const fs::path&) {
         return Arguments{"bench", "workload",   kGguf,         "--device",
                          "cpu",   "--workload", "decode:batch"};
       },
       {"--workload", "character"}},
      {"bench_workload_without_one",
       [](const fs::path&) {
         return Arguments{"bench", "workload", kGguf, "--device", "cpu"};
       },
       {"--workload", "prefill"}},
      {"bench_workload_shorter_than_its_steps",
       [](const fs::path&) {
         return Arguments{"bench",      "workload",        kGguf, "--device", "cpu",
                          "--workload", "decode:context=4"};
       },
       {"--workload", "4", "--steps"}},
      hardware_case("hardware_with_a_broken_map",
                    [](Json& json) {
                      json["tiers"][1]["window_map"] = {{1, 2, 3}};
                    },
                    {"tiers[1].window_map[0]"}),
      hardware_case("hardware_with_impossible_costs",
                    [](Json& json) {
                      json["cpu_costs"] = {{"product_local_share", 2}};
                    },
                    {"cpu_costs"}),
      {"probe_of_no_gpu",
       [](const fs::path&) {
         return Arguments{"probe", "--device", "cuda:999"};
       },
       {"--device", "cuda:999"}},
      {"probe_unknown_device",
       [](const fs::path&) {
         return Arguments{"probe", "--device", "tpu"};
       },
       {"--device", "tpu"}},
      {"probe_threads_negative",
       [](const fs::path&) {
         return Arguments{"probe", "--device", "cpu", "--threads", "-2"};
       },
       {"--threads", "-2"}},
      {"probe_into_no_folder",
       [](const fs::path&) {
         return Arguments{"probe", "--device", "cpu", "--output", "/proc/nothing/profile.json"};
       },
       {"/proc/nothing/profile.json", "cannot be written"}},
      // Files that are not there or are something else.
      {"missing_model",
       [](const fs::path& f) { return run_on(f / "nothing.gguf"); },
       {"nothing.gguf", "no such file"}},
      {"empty_folder", [](const fs::path& f) { return run_on(f); }, {"config.json"}},
      {"config_alone_cannot_run",
       [](const fs::path&) { return run_on(kFolder + "/config.json"); },
       {"config.json", "without weights"}},
      {"not_a_model",
       [](const fs::path& f) {
         write(f / "notes.txt", "hello, this is no model\n");
         return run_on(f / "notes.txt");
       },
       {"notes.txt", "magic"}},
      {"empty_file",
       [](const fs::path& f) {
         write(f / "empty.gguf", "");
         return run_on(f / "empty.gguf");
       },
       {"empty.gguf"}},
      {"a_device", [](const fs::path&) { return run_on("/dev/zero"); }, {"/dev/zero"}},
      {"missing_weights",
       [](const fs::path& f) {
         const fs::path copy = copy_of(kFolder, f);
         fs::remove(copy / "model.safetensors");
         return run_on(copy);
       },
       {"model.safetensors"}},
      {"missing_shard",
       [](const fs::path& f) {
         const fs::path copy = copy_of(kSharded, f);
         fs::remove(copy / "model-00002-of-00003.safetensors");
         return run_on(copy);
       },
       {"model-00002-of-00003.safetensors"}},
      {"missing_tokenizer",
       [](const fs::path& f) {
         const fs::path copy = copy_of(kFolder, f);
         fs::remove(copy / "tokenizer.json");
         return run_on(copy);
       },
       {"tokenizer.json"}},
      // config.json.
      {"config_not_json",
       [](const fs::path& f) {
         const fs::path copy = copy_of(kFolder, f);
         write(copy / "config.json", "{\"hidden_size\": 72,");
         return run_on(copy);
       },
       {"config.json", "byte", "JSON"}},
      config_case("unknown_architecture",
                  [](Json& json) { json["architectures"] = {"GPT9ForCausalLM"}; },
                  {"architectures", "GPT9ForCausalLM", "LlamaForCausalLM"}),
      config_case("missing_field", [](Json& json) { json.erase("hidden_size"); }, {"hidden_size"}),
      config_case("field_of_wrong_type", [](Json& json) { json["hidden_size"] = "big"; },
                  {"hidden_size", "big"}),
      config_case("impossible_number", [](Json& json) { json["num_hidden_layers"] = -1; },
                  {"num_hidden_layers", "-1"}),
      config_case("heads_do_not_divide", [](Json& json) { json["num_key_value_heads"] = 2; },
                  {"num_key_value_heads", "2"}),
      {"shapes_disagree",
       [](const fs::path& f) {
         return run_on(with_json(f, "config.json", [](Json& json) { json["hidden_size"] = 64; }));
       },
       {"should be", "configuration"}},
      {"layers_disagree",
       [](const fs::path& f) {
         return run_on(
             with_json(f, "config.json", [](Json& json) { json["num_hidden_layers"] = 3; }));
       },
       {"model.layers.2", "missing"}},
      {"bad_tokenizer",
       [](const fs::path& f) {
         return run_on(
             with_json(f, "tokenizer.json", [](Json& json) { json["model"]["type"] = "Unigram"; }));
       },
       {"tokenizer.json", "Unigram"}},
      {"bad_chat_template",
       [](const fs::path& f) {
         return run_on(with_json(f, "tokenizer_config.json",
                                 [](Json& json) { json["chat_template"] = "{% for x in %}"; }));
       },
       {"tokenizer_config.json", "chat_template", "line 1"}},
      // safetensors.
      {"safetensors_truncated",
       [](const fs::path& f) {
         const fs::path copy = copy_of(kFolder, f);
         const auto size = fs::file_size(copy / "model.safetensors");
         fs::resize_file(copy / "model.safetensors", size - 100);
         return run_on(copy);
       },
       {"model.safetensors"}},
      {"safetensors_header_too_long",
       [](const fs::path& f) {
         const fs::path copy = copy_of(kFolder, f);
         std::string bytes = text_of(copy / "model.safetensors");
         bytes[6] = 1;
         write(copy / "model.safetensors", bytes);
         return run_on(copy);
       },
       {"model.safetensors", "header"}},
      header_case("safetensors_unknown_dtype",
                  [q_proj](Json& header) { header[q_proj]["dtype"] = "F8_E4M3"; },
                  {q_proj, "F8_E4M3"}),
      header_case("safetensors_offset_outside",
                  [](Json& header) {
                    first_tensor(header)["data_offsets"] = {0, int64_t{1} << 40};
                  },
                  {"data_offsets"}),
      header_case("safetensors_negative_dim",
                  [q_proj](Json& header) {
                    header[q_proj]["shape"] = {-1, 72};
                  },
                  {q_proj, "shape"}),
      header_case("safetensors_missing_tensor", [q_proj](Json& header) { header.erase(q_proj); },
                  {}),
      // GGUF.
      gguf_case("gguf_wrong_magic", [](std::string& bytes) { bytes[0] = 'X'; }, {"magic"}),
      gguf_case("gguf_version_1", [](std::string& bytes) { bytes[4] = 1; }, {"version", "1"}),
      gguf_case("gguf_version_99", [](std::string& bytes) { bytes[4] = 99; }, {"version", "99"}),
      gguf_case("gguf_truncated_header", [](std::string& bytes) { bytes.resize(100); }, {}),
      gguf_case("gguf_truncated_data",
                [](std::string& bytes) { bytes.resize(bytes.size() - 5000); }, {}),
      gguf_case("gguf_huge_tensor_count",
                [](std::string& bytes) { bytes.replace(8, 8, 8, '\x7f'); }, {}),
      gguf_case("gguf_huge_metadata_count",
                [](std::string& bytes) { bytes.replace(16, 8, 8, '\x7f'); }, {}),
      gguf_case("gguf_unknown_architecture",
                [](std::string& bytes) { replace(bytes, "llama", "mamba"); },
                {"general.architecture", "mamba"}),
      gguf_case(
          "gguf_missing_key",
          [](std::string& bytes) { replace(bytes, "llama.block_count", "llama.blocc_count"); },
          {"llama.block_count"}),
      gguf_case(
          "gguf_missing_tensor",
          [](std::string& bytes) { replace(bytes, "blk.1.ffn_up.weight", "blk.9.ffn_up.weight"); },
          {"blk.1.ffn_up.weight"}),
      gguf_case("gguf_unknown_pre_tokenizer",
                [](std::string& bytes) { replace(bytes, "smollm", "sm0llm"); },
                {"tokenizer.ggml.pre", "sm0llm"}),
      serve_case("serve_host", {"--host", "nowhere"}, {"--host", "nowhere", "127.0.0.1"}),
      serve_case("serve_address", {"--host", "192.0.2.1"},
                 {"192.0.2.1", "cannot listen", "--host"}),
      serve_case("serve_key", {"--api-key", "a b"}, {"--api-key", "visible"}),
      serve_case("serve_key_file", {"--api-key-file", "/nonexistent/keys"}, {"/nonexistent/keys"}),
      {"serve_keys_that_are_none",
       [](const fs::path& folder) {
         write(folder / "keys", "# none yet\n\n");
         return Arguments{"serve",  kGguf, "--device",       "cpu",
                          "--port", "0",   "--api-key-file", (folder / "keys").string()};
       },
       {"keys", "holds no key"}},
      serve_case("serve_timeout", {"--header-timeout", "0"}, {"--header-timeout"}),
      serve_case("serve_drain", {"--drain-timeout", "-1"}, {"--drain-timeout", "-1"}),
      serve_case("serve_body", {"--max-body", "many"}, {"--max-body", "many"}),
      serve_case("serve_running", {"--max-running", "0"}, {"--max-running", "0"}),
      serve_case("serve_warm_up", {"--warm-up", "5"}, {"--warm-up", "CPU", "omit it"}),
      serve_case("serve_warm_up_time", {"--warm-up", "-5"}, {"--warm-up", "-5"}),
      serve_case("serve_budget", {"--local-budget", "1KiB"}, {"budget"}),
      {"serve_port",
       [](const fs::path&) {
         return Arguments{"serve", kGguf, "--device", "cpu", "--port", "70000"};
       },
       {"--port", "70000"}},
      // Values.
      {"nan_weights_on_request",
       [](const fs::path& f) {
         const fs::path copy = copy_of(kFolder, f);
         std::string bytes = text_of(copy / "model.safetensors");
         bytes.replace(bytes.size() - 2, 2, "\xc0\x7f");  // a bf16 NaN, little-endian
         write(copy / "model.safetensors", bytes);
         return run_on(copy, {"--check-weights"});
       },
       {"model.safetensors", "not finite", "row"}},
  };
}

class BadInput : public testing::TestWithParam<Case> {};

TEST_P(BadInput, IsOneLineAndLeavesNothing) {
  const TemporaryFolder folder;
  const Arguments arguments = GetParam().make(folder.path());
  const auto files_in = [](const fs::path& path) {
    return std::distance(fs::recursive_directory_iterator(path),
                         fs::recursive_directory_iterator());
  };
  const auto before = files_in(folder.path());
  const ProcessResult result = run_dak(arguments);
  EXPECT_FALSE(result.hung);
  EXPECT_TRUE(result.status == 1 || result.status == 2) << "status " << result.status;
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err.rfind("dak: error: ", 0), 0u) << result.err;
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
  for (const std::string& part : GetParam().expected) {
    EXPECT_NE(result.err.find(part), std::string::npos) << part << " not in: " << result.err;
  }
  EXPECT_EQ(files_in(folder.path()), before);
}

INSTANTIATE_TEST_SUITE_P(Table, BadInput, testing::ValuesIn(cases()),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace dak
