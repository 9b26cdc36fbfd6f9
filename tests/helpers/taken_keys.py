"""Keys that our widgets must leave alone."""


def taken_keys() -> set[str]:
    """Keys that napari binds where CTs and their labels are, and those of our viewing aids."""
    from napari._app_model import get_app_model
    from napari.components import ViewerModel
    from napari.layers import Image, Labels
    from napari.utils.shortcuts import default_shortcuts

    from napari_covseg.plugin.viewing import OVERLAY_KEY, PLANE_KEYS
    from napari_covseg.plugin.window_level import PRESET_KEYS

    other_layers = ("points", "shape", "vector", "tracks", "surface", "vertex", "direct")
    drawn = ("activate_add_", "activate_select_mode", "select_all", "finish_drawing")
    taken = {OVERLAY_KEY, *PLANE_KEYS.values(), *PRESET_KEYS.values()}
    for name, bindings in default_shortcuts.items():
        if not any(part in name for part in (*other_layers, *drawn)):
            taken |= {str(binding) for binding in bindings}
    for provider in (ViewerModel, Labels, Image):
        taken |= {str(key) for key in provider.class_keymap}
    return taken | {str(rule.keybinding) for rule in get_app_model().keybindings}
