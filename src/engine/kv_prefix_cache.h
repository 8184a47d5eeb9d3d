// Which tokens the kept pages of a KV cache are of: a tree whose nodes are whole pages, so that a
// sequence adopts every page that its tokens begin with. A scope is a tree of its own: nothing of
// one is ever found in another. Pages that no sequence uses are given up, longest unused first,
// when the cache needs them; until then they lie in whatever tier they were moved to and are read
// there.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

#include "engine/kv_cache.h"
#include "text/tokenizer.h"

namespace dak {

class KvPrefixCache {
 public:
  // Becomes the cache's evictor. The cache outlives it, and it outlives every place.
  explicit KvPrefixCache(KvCache& cache);
  ~KvPrefixCache();
  KvPrefixCache(const KvPrefixCache&) = delete;
  KvPrefixCache& operator=(const KvPrefixCache&) = delete;

  struct Node;
  // How far along the tree a sequence is: the node of the last of its pages that are in the tree,
  // all of which its hold has. It ends before its hold is released.
  class Place {
   public:
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    friend class KvPrefixCache;
    Place(KvPrefixCache& cache, Node& root) : cache_(cache), root_(root), node_(&root) {}
    KvPrefixCache& cache_;
    Node& root_;
    Node* node_;
    int64_t pages_ = 0;
    bool astray_ = false;  // another sequence's page of the same tokens is in the tree instead
  };
  std::unique_ptr<Place> enter(const std::string& scope);

  // Adds to `hold` the pages that go on with `tokens` (the sequence's, from its first) beyond those
  // it has, if these are all in the tree. Returns how many tokens they are.
  int64_t adopt(Place& place, KvHold& hold, std::span<const TokenId> tokens);
  // The tree takes the pages of `hold` that `tokens`, all written, fill.
  void keep(Place& place, KvHold& hold, std::span<const TokenId> tokens);

  // Takes the place's pages out of the tree again, last one first, as far as no other sequence uses
  // them and none kept there follow them. The hold keeps its pages.
  void forget(Place& place);

  // Equal for two sequences whose next pages are of the same tokens after the same tokens. None:
  // the tokens do not fill it, or it would not get into the tree.
  using PageKey = std::pair<const Node*, uint64_t>;
  std::optional<PageKey> next_page(const Place& place, std::span<const TokenId> tokens) const;

  int64_t pages() const { return std::ssize(nodes_); }

 private:
  struct Key {
    const Node* parent;
    std::array<TokenId, kPageTokens> tokens;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    uint64_t seed;
    size_t operator()(const Key& key) const;
  };

  static std::optional<Key> key_after(const Place& place, std::span<const TokenId> tokens);
  void evict(KvBlock& block);
  void leave(Node& root);

  KvCache& cache_;
  std::unordered_map<Key, std::unique_ptr<Node>, KeyHash> nodes_;
  std::unordered_map<const KvBlock*, Key> keys_;
  std::unordered_map<std::string, std::unique_ptr<Node>> roots_;  // by scope
};

}  // namespace dak
