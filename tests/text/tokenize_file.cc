// tokenize_file MODEL FILE [--decode] [--documents] [--text-specials] [--bare]
// Encodes FILE and writes the ids to standard output as little-endian 32-bit integers; with
// --decode the decoded text. MODEL: a folder with tokenizer.json, or a .gguf.
//   --documents      FILE is a list of documents, each a 32-bit length and its bytes; each one's
//                    output is a 32-bit count and the ids (with --decode: bytes).
//   --text-specials  special tokens in the text are text
//   --bare           without BOS, EOS
// Prints one line with the speed, in CPU time of one thread, to standard error.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "format/gguf.h"
#include "text/tokenizer.h"

namespace {

dak::Tokenizer load(const std::filesystem::path& path) {
  if (path.extension() == ".gguf") return dak::load_gguf_tokenizer(dak::open_gguf(path).metadata);
  return dak::load_tokenizer_json(path);
}

// Of CPU time: other programs on the machine do not count.
double seconds_since(std::clock_t start) {
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

struct Options {
  bool decode = false;
  bool documents = false;
  dak::EncodeOptions encode;
};

Options parse_options(const std::vector<std::string_view>& arguments) {
  Options options;
  for (size_t i = 2; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (argument == "--decode") {
      options.decode = true;
    } else if (argument == "--documents") {
      options.documents = true;
    } else if (argument == "--text-specials") {
      options.encode.parse_special_tokens = false;
    } else if (argument == "--bare") {
      options.encode.add_special_tokens = false;
    } else {
      throw std::runtime_error("unknown argument " + std::string(argument));
    }
  }
  return options;
}

std::vector<std::string_view> cut_documents(std::string_view data) {
  std::vector<std::string_view> documents;
  while (data.size() >= 4) {
    uint32_t length = 0;
    std::memcpy(&length, data.data(), 4);
    documents.push_back(data.substr(4, length));
    data.remove_prefix(std::min<size_t>(data.size(), 4 + size_t{length}));
  }
  return documents;
}

void write(const void* data, size_t size_bytes, size_t count, bool counted) {
  const auto count32 = static_cast<uint32_t>(count);
  if (counted) std::fwrite(&count32, sizeof(count32), 1, stdout);
  std::fwrite(data, 1, size_bytes, stdout);
}

int run(const std::vector<std::string_view>& arguments) {
  if (arguments.size() < 2) throw std::runtime_error("usage: tokenize_file MODEL FILE [options]");
  const Options options = parse_options(arguments);
  const std::clock_t load_start = std::clock();
  const dak::Tokenizer tokenizer = load(arguments[0]);
  const double load_seconds = seconds_since(load_start);
  const std::string text = dak::read_text_file(arguments[1]);
  const std::vector<std::string_view> documents =
      options.documents ? cut_documents(text) : std::vector<std::string_view>{text};

  const std::clock_t start = std::clock();
  std::vector<std::vector<dak::TokenId>> encoded;
  encoded.reserve(documents.size());
  for (const std::string_view document : documents) {
    encoded.push_back(tokenizer.encode(document, options.encode));
  }
  const double seconds = seconds_since(start);
  std::fprintf(stderr, "load %.3f s, encode %zu bytes in %.3f s, %.2f MB/s\n", load_seconds,
               text.size(), seconds, static_cast<double>(text.size()) / 1e6 / seconds);
  for (const std::vector<dak::TokenId>& ids : encoded) {
    if (options.decode) {
      const std::string decoded = tokenizer.decode(ids, /*skip_special_tokens=*/false);
      write(decoded.data(), decoded.size(), decoded.size(), options.documents);
    } else {
      write(ids.data(), ids.size() * sizeof(ids[0]), ids.size(), options.documents);
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
