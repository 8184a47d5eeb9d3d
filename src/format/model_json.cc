#include "format/model_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace dak {
namespace {

// How the text begins, in small letters, and what it then is.
struct StandIn {
  std::string_view prefix;
  std::string_view problem;
  std::string_view fix;
};

constexpr std::string_view kPulled =
    "run `git lfs pull` in its folder, or download the file itself";
constexpr std::string_view kPage = "is a page of a web server, not a file of a model";
constexpr std::string_view kFetchFile =
    "the download saved an error or login page: check the address and the access, then fetch the "
    "file";

constexpr StandIn kStandIns[] = {
    {"version https://git-lfs", "is a Git LFS pointer: the file that it names was not fetched",
     kPulled},
    {"# xet version", "is a Xet pointer: the file that it names was not fetched", kPulled},
    {"<!doctype html", kPage, kFetchFile},
    {"<html", kPage, kFetchFile},
    {"<?xml", kPage, kFetchFile},
    {"<error>", kPage, kFetchFile},
};

}  // namespace

void refuse_stand_in(std::string_view head, std::string_view where) {
  if (head.empty()) {
    throw_corrupt(where, {}, {}, "is empty: the file was not fetched", "fetch it again");
  }
  head.remove_prefix(std::min(head.find_first_not_of(" \t\r\n"), head.size()));
  std::string small(head.substr(0, 32));
  std::ranges::transform(small, small.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  for (const StandIn& stand_in : kStandIns) {
    if (!small.starts_with(stand_in.prefix)) continue;
    throw Error(ErrorCode::kNotFound, {.where = std::string(where),
                                       .field = {},
                                       .value = {},
                                       .problem = std::string(stand_in.problem),
                                       .fix = std::string(stand_in.fix)});
  }
}

std::string read_model_text(const std::filesystem::path& path) {
  std::string text = read_text_file(path);
  refuse_stand_in(text, path.string());
  return text;
}

Json read_model_json(const std::filesystem::path& path) {
  return parse_python_json(read_model_text(path), path.string());
}

}  // namespace dak
