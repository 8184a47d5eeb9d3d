# cmake -DOUTPUT=FILE.cc -DPRESETS="a.json;b.json" -P EmbedPresets.cmake: the files as C++ strings.
set(entries "")
foreach(preset ${PRESETS})
  get_filename_component(name ${preset} NAME_WE)
  file(READ ${preset} text)
  string(APPEND entries "    {\"${name}\", R\"json(${text})json\"},\n")
endforeach()
file(WRITE ${OUTPUT} "// Made by cmake/EmbedPresets.cmake from src/hardware/presets.
#include \"hardware/presets.h\"

namespace dak {
namespace {
constexpr PresetText kPresets[] = {
${entries}};
}  // namespace

std::span<const PresetText> preset_texts() { return kPresets; }

}  // namespace dak
")
