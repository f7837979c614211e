"""An offscreen renderer of textured triangles: pictures, and who owns each of their pixels. Wraps panda3d.

Coordinates are metres, x to the right, y forward, z up; headings are degrees counter-clockwise seen from above,
0 looks along y.
"""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import SipVideoError
from sipvideo.extras import absence
from sipvideo.synth.film import NOBODY
from sipvideo.synth.wavefront import Surface

NEAR, FAR = 0.15, 400.0
SETTINGS = """
window-type none
audio-library-name null
notify-level fatal
notify-level-display fatal
notify-level-x11display fatal
textures-power-2 none
gl-version 3 2
"""
RENDERERS = (("TinyOffscreenGraphicsPipe", "p3tinydisplay"), ("eglGraphicsPipe", "p3headlessgl"))
"""Pipes and their modules, tried in this order: the first is panda3d's own and the same everywhere, the second needs an
EGL driver. They are named because a module's default pipe is one to an X server wherever one answers, and ends the
process when that server goes away."""

_numbers = itertools.count()


def renderer() -> Any:
    """panda3d's core module, with a pipe of one of the :data:`RENDERERS`.

    Raises:
        SipVideoError: panda3d is not installed, or none of its renderers works.
    """
    try:
        core: Any = importlib.import_module("panda3d.core")
    except ImportError as error:
        raise SipVideoError(f"{absence('panda3d')}; --kind shapes does without") from error
    if not core.ConfigPageManager.get_global_ptr().get_num_explicit_pages():
        core.load_prc_file_data("sipvideo", SETTINGS)
    selection = core.GraphicsPipeSelection.get_global_ptr()
    for name, module in RENDERERS:
        pipe = selection.make_pipe(name, module)
        if pipe is not None:
            return core, pipe
    modules = ", ".join(module for _, module in RENDERERS)
    raise SipVideoError(f"none of panda3d's renderers {modules} can be loaded")


class Stage:
    """A scene of actors, which own pixels, and scenery, which does not.

    Args:
        size: (height, width) of the pictures.
        field_of_view: horizontal, degrees.

    Raises:
        SipVideoError: there is no renderer.
    """

    def __init__(self, size: tuple[int, int], field_of_view: float = 55.0) -> None:
        self._core, pipe = renderer()
        core = self._core
        self.size = size
        self._field_of_view = field_of_view
        self._look, self._flat, self._shade = (core.BitMask32.bit(k) for k in range(3))
        self._engine = core.GraphicsEngine.get_global_ptr()
        self._buffer = self._make_buffer(pipe)
        self._texture = core.Texture()
        self._buffer.add_render_texture(self._texture, core.GraphicsOutput.RTM_copy_ram)
        self._root = core.NodePath("root")
        self._shades = self._root.attach_new_node("shades")
        self._actors: list[tuple[Any, Any]] = []
        self._order = itertools.count()
        self._lens = core.PerspectiveLens()
        self._lens.set_aspect_ratio(size[1] / size[0])
        self._lens.set_fov(field_of_view)
        self._lens.set_near_far(NEAR, FAR)
        self._camera = self._root.attach_new_node(core.Camera("camera", self._lens))
        self._buffer.make_display_region().set_camera(self._camera)
        self._sun = self._root.attach_new_node(core.DirectionalLight("sun"))
        self._sky = self._root.attach_new_node(core.AmbientLight("sky"))
        self._root.set_light(self._sun)
        self._root.set_light(self._sky)
        self._root.set_two_sided(True)

    def _make_buffer(self, pipe: Any) -> Any:
        core = self._core
        height, width = self.size
        wanted = core.FrameBufferProperties()
        wanted.set_rgba_bits(8, 8, 8, 8)
        wanted.set_depth_bits(24)
        size = core.WindowProperties.size(width, height)
        name = f"stage{next(_numbers)}"
        hidden = core.GraphicsPipe.BF_refuse_window
        buffer = self._engine.make_output(pipe, name, 0, wanted, size, hidden)
        if buffer is None:
            raise SipVideoError(f"panda3d cannot render pictures of {width}x{height}")
        buffer.set_clear_color((0, 0, 0, 0))
        return buffer

    def close(self) -> None:
        """Frees the renderer's memory."""
        self._engine.remove_window(self._buffer)
        self._root.remove_node()

    def add_actor(self, surfaces: Sequence[Surface]) -> int:
        """Adds an object that owns pixels; returns its number, counted from 0."""
        number = len(self._actors)
        actor = self._root.attach_new_node("actor")
        look = self._mesh(actor, surfaces)
        look.hide(self._flat | self._shade)
        flat = self._mesh(actor, surfaces, plain=True)
        flat.hide(self._look)
        flat.set_light_off(1)
        red, green = (number + 1) % 256, (number + 1) // 256
        # Half a step up: renderers cut the fraction off.
        flat.set_color(((red + 0.5) / 256, (green + 0.5) / 256, 0, 1), 1)
        shade = self._shades.attach_new_node("shade")
        flat.copy_to(shade).set_color((0, 0, 1, 1), 2)
        shade.hide(self._look | self._flat)
        self._actors.append((actor, shade))
        return number

    def add_scenery(
        self, surfaces: Sequence[Surface], *, lit: bool = True, backdrop: bool = False
    ) -> Any:
        """Adds what owns no pixel but hides what is behind it; returns its node for :meth:`place`.

        A backdrop, such as ground and walls, has nothing behind it.
        """
        node = self._root.attach_new_node("scenery")
        look = self._mesh(node, surfaces)
        look.hide(self._flat | self._shade)
        if not lit:
            look.set_light_off(1)
        if not backdrop:
            flat = self._mesh(node, surfaces, plain=True)
            flat.hide(self._look)
            flat.set_light_off(1)
            flat.set_color((0, 0, 0, 1), 1)
        return node

    def place(self, which: Any, position: Sequence[float], heading: float = 0.0) -> None:
        """Moves an actor (its number) or scenery (its node), and turns it to a heading in degrees."""
        nodes = self._actors[which] if isinstance(which, int) else (which,)
        for node in nodes:
            node.set_pos(*(float(v) for v in position))
            node.set_h(float(heading))

    def light(self, direction: Sequence[float], sun: Sequence[float], sky: Sequence[float]) -> None:
        """Sets the direction in which the sun shines (z below 0), and both colours, RGB 0..1 or more."""
        core = self._core
        x, y, z = (float(v) for v in direction)
        self._sun.node().set_color((*sun, 1))
        self._sun.look_at(core.Point3(x, y, z))
        self._sky.node().set_color((*sky, 1))
        lift = 0.004
        flatten = core.LMatrix4(1, 0, 0, 0, 0, 1, 0, 0, -x / z, -y / z, 0, 0, 0, 0, lift, 1)
        self._shades.set_mat(flatten)

    def aim(self, position: Sequence[float], target: Sequence[float], zoom: float = 1.0) -> None:
        """Moves the camera, turns it to a point, and makes what it sees ``zoom`` times as large."""
        core = self._core
        self._camera.set_pos(*(float(v) for v in position))
        self._camera.look_at(core.Point3(*(float(v) for v in target)))
        wide = math.tan(math.radians(self._field_of_view / 2)) / zoom
        self._lens.set_fov(2 * math.degrees(math.atan(wide)) if zoom != 1 else self._field_of_view)

    def picture(self, shift: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.uint8]:
        """The picture, uint8 [H, W, 3], RGB; moved by ``shift`` pixels (x, y), for smooth edges."""
        film = self._lens.get_film_size()
        self._lens.set_film_offset(
            shift[0] / self.size[1] * film[0], -shift[1] / self.size[0] * film[1]
        )
        pixels = self._render(self._look)
        self._lens.set_film_offset(0, 0)
        return np.ascontiguousarray(pixels[..., 2::-1])

    def owners(self) -> NDArray[np.int16]:
        """Which actor is seen at each pixel's centre, int16 [H, W], -1 for none."""
        return _owners(self._render(self._flat))

    def alone(self, number: int) -> NDArray[np.bool_]:
        """Where an actor would be seen if there were nothing else, bool [H, W]."""
        with self._only(self._actors[number][0]):
            return np.asarray(_owners(self._render(self._flat)) == number)

    def shadows(self) -> NDArray[np.bool_]:
        """Where the actors' shadows on the ground z = 0 are seen, bool [H, W]."""
        return np.asarray(self._render(self._shade)[..., 0] > 127)

    @contextmanager
    def _only(self, kept: Any) -> Iterator[None]:
        hidden = [n for n in self._root.get_children() if n not in (kept, self._camera)]
        for node in hidden:
            node.stash()
        try:
            yield
        finally:
            for node in hidden:
                node.unstash()

    def _render(self, mask: Any) -> NDArray[np.uint8]:
        """uint8 [H, W, 4], BGRA, first row at the top; valid until the next call."""
        self._camera.node().set_camera_mask(mask)
        self._engine.render_frame()
        data = np.frombuffer(self._texture.get_ram_image(), np.uint8)
        return np.asarray(data.reshape(*self.size, 4)[::-1])

    def _mesh(self, parent: Any, surfaces: Iterable[Surface], *, plain: bool = False) -> Any:
        """Triangles under a new node; plain ones have no colour, and of their textures only the holes."""
        core = self._core
        node = parent.attach_new_node("mesh")
        for surface in surfaces:
            geometry = core.GeomNode("surface")
            geometry.add_geom(self._triangles(surface))
            part = node.attach_new_node(geometry)
            # A fixed order, so that surfaces at the same distance come out the same every time.
            part.set_bin("fixed", next(self._order))
            if not plain:
                part.set_color((*surface.colour.tolist(), 1))
            texture = surface.texture
            if texture is None:
                continue
            holes = bool((texture[..., 3] < 128).any())
            if plain and not holes:
                continue
            if plain:
                texture = np.dstack(
                    (np.full((*texture.shape[:2], 3), 255, np.uint8), texture[..., 3])
                )
            else:
                part.set_color((1, 1, 1, 1))
            part.set_texture(self._upload(texture))
            if holes:
                part.set_attrib(core.AlphaTestAttrib.make(core.RenderAttrib.M_greater, 0.5))
        return node

    def _triangles(self, surface: Surface) -> Any:
        core = self._core
        layout = core.GeomVertexFormat.get_v3n3t2()
        data = core.GeomVertexData("surface", layout, core.Geom.UH_static)
        count = len(surface.vertices)
        data.unclean_set_num_rows(count)
        view = memoryview(data.modify_array(0)).cast("B").cast("f")
        np.asarray(view).reshape(count, 8)[:] = surface.vertices
        primitive = core.GeomTriangles(core.Geom.UH_static)
        primitive.set_index_type(core.Geom.NT_uint32)
        indices = primitive.modify_vertices()
        indices.unclean_set_num_rows(surface.triangles.size)
        target = memoryview(indices).cast("B").cast("I")
        np.asarray(target)[:] = surface.triangles.reshape(-1)
        geom = core.Geom(data)
        geom.add_primitive(primitive)
        return geom

    def _upload(self, image: NDArray[np.uint8]) -> Any:
        core = self._core
        texture = core.Texture()
        height, width = image.shape[:2]
        texture.setup_2d_texture(width, height, core.Texture.T_unsigned_byte, core.Texture.F_rgba)
        texture.set_ram_image(np.ascontiguousarray(image[::-1, :, [2, 1, 0, 3]]).tobytes())
        texture.set_minfilter(core.SamplerState.FT_linear_mipmap_linear)
        texture.set_magfilter(core.SamplerState.FT_linear)
        return texture


def _owners(pixels: NDArray[np.uint8]) -> NDArray[np.int16]:
    red, green = pixels[..., 2].astype(np.int16), pixels[..., 1].astype(np.int16)
    return np.asarray(red + 256 * green + NOBODY, np.int16)
