"""The desktop around the windows: wallpaper, menu bar, dock, window frames."""

from functools import lru_cache

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from poc_lib.canvas import SIZE, Box, Canvas, box, dot, glass, new_canvas, shadow, text

MENU_HEIGHT = 22
TITLE_HEIGHT = 28
LIGHTS = ("#ff5f57", "#febc2e", "#28c840")
MENUS = {
    "VS Code": ("File", "Edit", "Selection", "View", "Go", "Run", "Terminal", "Help"),
    "Terminal": ("Shell", "Edit", "View", "Window", "Help"),
    "Chrome": ("File", "Edit", "View", "History", "Bookmarks", "Profiles", "Help"),
    "Firefox": ("File", "Edit", "View", "History", "Bookmarks", "Tools", "Help"),
    "Slack": ("File", "Edit", "View", "Go", "History", "Window", "Help"),
    "Zoom": ("Meeting", "View", "Edit", "Window", "Help"),
    "Preview": ("File", "Edit", "View", "Go", "Tools", "Window", "Help"),
    "Obsidian": ("File", "Edit", "Format", "View", "Window", "Help"),
}
DOCK = (
    ("F", "#3d8bfd"), ("C", "#e8453c"), ("V", "#2277cc"), ("T", "#2b2b2b"),
    ("S", "#5b2a5f"), ("Z", "#2d8cff"), ("P", "#7aa7c7"), ("O", "#7c5cc4"),
)  # fmt: skip


def draw_desktop(app: str, clock: str, dock: bool) -> Canvas:
    """Wallpaper, the menu bar of ``app`` with the clock, and the dock."""
    canvas = new_canvas(_wallpaper())
    glass(canvas, (0, 0, SIZE[0], MENU_HEIGHT), "#f4f1f7", 205)
    dot(canvas, (18, 11), 5, "#333333")
    x = 34 + text(canvas, (34, 4), app, 12, "#1d1d1f", bold=True) + 16
    for menu in MENUS.get(app, ("File", "Edit", "View", "Help")):
        x += text(canvas, (x, 4), menu, 12, "#1d1d1f") + 15
    text(canvas, (SIZE[0] - 12, 4), clock, 12, "#1d1d1f", anchor="ra")
    _draw_status_icons(canvas, SIZE[0] - 150)
    if dock:
        _draw_dock(canvas)
    return canvas


def draw_window(canvas: Canvas, area: Box, title: str, dark: bool, bar: str, body: str) -> Box:
    """A window with its title bar; returns the box inside it."""
    shadow(canvas, area, 10)
    box(canvas, area, body, 9, outline="#000000" if dark else "#b9b9bf")
    box(canvas, (area[0] + 1, area[1] + 1, area[2] - 1, area[1] + 20), bar, 8)
    box(canvas, (area[0] + 1, area[1] + 10, area[2] - 1, area[1] + TITLE_HEIGHT), bar)
    for i, colour in enumerate(LIGHTS):
        dot(canvas, (area[0] + 16 + 18 * i, area[1] + 14), 6, colour)
    middle = ((area[0] + area[2]) // 2, area[1] + 14)
    text(canvas, middle, title, 12, "#cfcfd4" if dark else "#3c3c43", anchor="mm")
    return area[0] + 1, area[1] + TITLE_HEIGHT, area[2] - 1, area[3] - 1


def _draw_status_icons(canvas: Canvas, x: int) -> None:
    pen = canvas.pen
    pen.rounded_rectangle((x - 30, 7, x - 10, 15), 2, outline="#333333")
    pen.rectangle((x - 28, 9, x - 16, 13), fill="#333333")
    for i, height in enumerate((3, 5, 7, 9)):
        pen.rectangle((x - 58 + 4 * i, 15 - height, x - 56 + 4 * i, 15), fill="#333333")


def _draw_dock(canvas: Canvas) -> None:
    step, top = 46, SIZE[1] - 52
    left = (SIZE[0] - step * len(DOCK)) // 2
    glass(canvas, (left - 8, top - 6, left + step * len(DOCK) + 6, SIZE[1] - 6), "#f6f3fa", 110, 14)
    for i, (letter, colour) in enumerate(DOCK):
        x = left + step * i + 4
        box(canvas, (x, top, x + 36, top + 36), colour, 9)
        text(canvas, (x + 18, top + 19), letter, 18, "#ffffff", bold=True, anchor="mm")


@lru_cache(maxsize=1)
def _wallpaper() -> Image.Image:
    """A dusk sky over three ranges of hills."""
    width, height = SIZE
    ramp = Image.linear_gradient("L").resize(SIZE)
    sky = Image.composite(Image.new("RGB", SIZE, "#f3b79b"), Image.new("RGB", SIZE, "#4b5b9c"), ramp)
    glow = Image.radial_gradient("L").resize((900, 620))
    halo = Image.new("RGB", SIZE, "#000000")
    halo.paste("#7a4a30", (340, 120), ImageChops.invert(glow).point(lambda value: max(0, value - 70)))
    sky = ImageChops.add(sky, halo)
    pen = ImageDraw.Draw(sky)
    for colour, ridge in (
        ("#7a6f9f", (330, 290, 350, 300, 360, 320, 380)),
        ("#54507f", (420, 390, 430, 360, 420, 400, 410)),
        ("#332f57", (500, 480, 470, 500, 450, 490, 470)),
    ):
        step = width / (len(ridge) - 1)
        points = [(round(i * step), y) for i, y in enumerate(ridge)]
        pen.polygon([*points, (width, height), (0, height)], fill=colour)
    return sky.filter(ImageFilter.GaussianBlur(1.2))
