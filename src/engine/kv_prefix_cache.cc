#include "engine/kv_prefix_cache.h"

#include <algorithm>

#include "base/error.h"

namespace dak {

struct KvPrefixCache::Node {
  KvBlock* block = nullptr;  // null: a root
  Node* parent = nullptr;
  int64_t children = 0;
  int64_t places = 0;  // of a root: in its tree
  std::string scope;   // of a root
};

namespace {

uint64_t mixed(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
  return hash ^ (hash >> 29);
}

}  // namespace

// Seeded, so that no client can send prompts that all fall into one bucket.
size_t KvPrefixCache::KeyHash::operator()(const Key& key) const {
  uint64_t hash = mixed(seed, reinterpret_cast<uintptr_t>(key.parent));
  for (const TokenId token : key.tokens) hash = mixed(hash, static_cast<uint32_t>(token));
  return hash;
}

KvPrefixCache::KvPrefixCache(KvCache& cache)
    : cache_(cache), nodes_(0, KeyHash{uint64_t{std::random_device()()} << 32 | 1}) {
  cache_.use_evictor([this](KvBlock& block) { evict(block); });
}

KvPrefixCache::~KvPrefixCache() {
  cache_.use_evictor({});
  for (const auto& [key, node] : nodes_) cache_.drop(*node->block);
}

KvPrefixCache::Place::~Place() { cache_.leave(root_); }

std::unique_ptr<KvPrefixCache::Place> KvPrefixCache::enter(const std::string& scope) {
  std::unique_ptr<Node>& root = roots_[scope];
  if (root == nullptr) {
    root = std::make_unique<Node>();
    root->scope = scope;
  }
  ++root->places;
  return std::unique_ptr<Place>(new Place(*this, *root));
}

void KvPrefixCache::leave(Node& root) {
  --root.places;
  if (root.places == 0 && root.children == 0) roots_.erase(std::string(root.scope));
}

std::optional<KvPrefixCache::Key> KvPrefixCache::key_after(const Place& place,
                                                           std::span<const TokenId> tokens) {
  if (place.astray_ || std::ssize(tokens) < (place.pages_ + 1) * kPageTokens) return std::nullopt;
  Key key{.parent = place.node_, .tokens = {}};
  std::copy_n(tokens.begin() + place.pages_ * kPageTokens, kPageTokens, key.tokens.begin());
  return key;
}

int64_t KvPrefixCache::adopt(Place& place, KvHold& hold, std::span<const TokenId> tokens) {
  if (hold.tokens != place.pages_ * kPageTokens || hold.page_count() != place.pages_) return 0;
  const int64_t before = hold.tokens;
  while (const std::optional<Key> key = key_after(place, tokens)) {
    const auto found = nodes_.find(*key);
    if (found == nodes_.end()) break;
    cache_.adopt(hold, *found->second->block);
    place.node_ = found->second.get();
    ++place.pages_;
  }
  return hold.tokens - before;
}

void KvPrefixCache::keep(Place& place, KvHold& hold, std::span<const TokenId> tokens) {
  require(std::ssize(tokens) <= hold.tokens, "prefix cache: tokens that are not written");
  while (const std::optional<Key> key = key_after(place, tokens)) {
    const auto [found, is_new] = nodes_.try_emplace(*key);
    if (!is_new) {
      place.astray_ = true;
      return;
    }
    KvBlock& block = cache_.keep(hold, place.pages_);
    found->second = std::make_unique<Node>();
    found->second->block = &block;
    found->second->parent = place.node_;
    ++place.node_->children;
    keys_.emplace(&block, *key);
    place.node_ = found->second.get();
    ++place.pages_;
  }
}

void KvPrefixCache::forget(Place& place) {
  while (place.node_ != &place.root_ && place.node_->children == 0 &&
         place.node_->block->users.size() == 1) {
    Node* const parent = place.node_->parent;
    evict(*place.node_->block);
    place.node_ = parent;
    --place.pages_;
  }
  place.astray_ = true;  // it adopts and keeps nothing more
}

std::optional<KvPrefixCache::PageKey> KvPrefixCache::next_page(
    const Place& place, std::span<const TokenId> tokens) const {
  const std::optional<Key> key = key_after(place, tokens);
  if (!key) return std::nullopt;
  return PageKey{key->parent, nodes_.hash_function()(*key)};
}

void KvPrefixCache::evict(KvBlock& block) {
  const auto key = keys_.find(&block);
  require(key != keys_.end(), "prefix cache: asked to drop what it does not keep");
  const auto found = nodes_.find(key->second);
  require(found->second->children == 0, "prefix cache: a page is dropped before those after it");
  Node* parent = found->second->parent;
  --parent->children;
  nodes_.erase(found);
  keys_.erase(key);
  cache_.drop(block);
  if (parent->block == nullptr && parent->places == 0 && parent->children == 0) {
    roots_.erase(std::string(parent->scope));
  }
}

}  // namespace dak
