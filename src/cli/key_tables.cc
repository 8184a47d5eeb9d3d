#include "cli/key_tables.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/choice.h"
#include "cli/output.h"
#include "model/family.h"
#include "model/rope_hf.h"
#include "text/tokenizer_keys.h"

namespace dak {
namespace {

struct Table {
  std::string name;   // for --keys
  std::string title;  // of docs/reference
  ConfigKeys keys;
};

std::vector<Table> tables() {
  std::vector<Table> all;
  for (const Family* family : families()) {
    all.push_back({std::string(family->name),
                   fmt::format("config.json of {}", family->hf_architecture), family->hf_keys()});
  }
  all.push_back({"config", "config.json of every family", common_hf_keys()});
  all.push_back({"rope", "rope_parameters and rope_scaling in config.json", hf_rope_keys()});
  all.push_back({"generation_config", "generation_config.json", generation_keys()});
  all.push_back({"tokenizer_config", "tokenizer_config.json", tokenizer_config_keys()});
  all.push_back({"gguf_architecture",
                 "GGUF metadata of llama, qwen2 and qwen3, behind the name of "
                 "the architecture",
                 gguf_architecture_keys()});
  all.push_back({"gguf", "GGUF metadata", gguf_other_keys()});
  return all;
}

nlohmann::ordered_json to_json(const Table& table) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const ConfigKey& key : table.keys) {
    nlohmann::ordered_json row{{"key", key.name}, {"use", name(key.use)}};
    if (!key.values.empty()) {
      row[key.use == KeyUse::kMustBe ? "values" : "missing"] =
          nlohmann::ordered_json::parse(key.values);
    }
    row["null"] = key.use != KeyUse::kUsed || key.nullable;
    row["note"] = key.note;
    rows.push_back(row);
  }
  return rows;
}

constexpr std::string_view kPageHead = R"(# What becomes of each key of a model's files

By `dak inspect --keys all`. A key is *used*, with what a missing one
means; *ignored*, because it changes no result; or *must be* one of some values (null always is),
else the model is refused by the key's name. A key in no table is refused when its name says that it
could change the result (attention, norm, rope, scale and the like) and it is not switched off
(null, false, 0, empty). A `*` stands for any text. Missing fields of config.json mean what
transformers' configuration class of the family means by them, which a test compares too.
)";

// A cell of Markdown: a key may end with '*', which must not begin emphasis.
void print_markdown(const Table& table) {
  print_out(
      "\n## {}\n\n| key | what becomes of it | missing, or the values taken | |\n"
      "|---|---|---|---|\n",
      table.title);
  for (const ConfigKey& key : table.keys) {
    std::string values;
    if (key.use == KeyUse::kUsed) {
      values = key.values.empty() ? "must be there" : fmt::format("`{}`", key.values);
    } else if (key.use == KeyUse::kMustBe) {
      values = key.values == "[]" ? "null" : fmt::format("`{}`", key.values);
    }
    print_out("| `{}` | {} | {} | {} |\n", key.name, name(key.use), values, key.note);
  }
}

}  // namespace

void print_keys(const std::string& which, bool json) {
  if (which == "all") print_out("{}", kPageHead);
  for (const Table& table : tables()) {
    if (which == "all") print_markdown(table);
    if (which != table.name) continue;
    if (json) {
      print_out("{}\n", to_json(table).dump(2));
    } else {
      print_markdown(table);
    }
    return;
  }
  if (which == "all") return;
  std::vector<std::string> names{"all"};
  for (const Table& table : tables()) names.push_back(table.name);
  throw_unknown("--keys", which, "is not a table of keys", names);
}

}  // namespace dak
