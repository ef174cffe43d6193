"""How every kind of thing looks: a drawing for each, on a square of 1000 units.

A drawing takes the sheet and the thing's state, which only kinds with states look at.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from scenes.sheet import Point, Sheet

Drawing = Callable[[Sheet, str | None], None]


def _circle(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(0, 0, 1000, 1000)


def _square(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(0, 0, 1000, 1000)


def _triangle(sheet: Sheet, state: str | None) -> None:
    sheet.polygon((500, 60), (1000, 926), (0, 926))


def _star(sheet: Sheet, state: str | None) -> None:
    sheet.polygon(
        *((500, 0), (636, 339), (1000, 363), (720, 598), (809, 952)),
        *((500, 757), (191, 952), (280, 598), (0, 363), (364, 339)),
    )


def _heart(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(0, 40, 540, 580)
    sheet.ellipse(460, 40, 1000, 580)
    sheet.polygon((500, 230), (956, 450), (500, 960), (44, 450))


def _cross(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(340, 0, 660, 1000)
    sheet.rectangle(0, 340, 1000, 660)


def _moon(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(0, 0, 1000, 1000)
    sheet.ellipse(330, 40, 1250, 960, tone="cut")


def _ring(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(0, 0, 1000, 1000)
    sheet.ellipse(140, 140, 860, 860, tone="cut")


def _arrow(sheet: Sheet, state: str | None) -> None:
    sheet.polygon(
        *((0, 375), (520, 375), (520, 90), (1000, 500)),
        *((520, 910), (520, 625), (0, 625)),
    )


def _house(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(720, 90, 840, 400, tone="shade")
    sheet.rectangle(110, 440, 890, 1000)
    sheet.polygon((500, 0), (1000, 470), (0, 470), tone="shade")
    sheet.rectangle(600, 600, 780, 1000, tone="shade")
    sheet.rectangle(190, 560, 500, 830, tone="glow" if state == "lit" else "shade")
    if state == "lit":
        sheet.rectangle(330, 560, 360, 830, tone="shade")


def _tree(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(420, 560, 580, 1000, tone="shade")
    sheet.ellipse(40, 250, 540, 720)
    sheet.ellipse(460, 250, 960, 720)
    sheet.ellipse(190, 0, 810, 580)


def _car(sheet: Sheet, state: str | None) -> None:
    sheet.polygon((180, 470), (310, 230), (680, 230), (830, 470))
    sheet.rectangle(0, 450, 1000, 680)
    sheet.polygon((285, 450), (360, 300), (475, 300), (475, 450), tone="light")
    sheet.polygon((535, 450), (535, 300), (650, 300), (740, 450), tone="light")
    sheet.ellipse(120, 540, 360, 780, tone="shade")
    sheet.ellipse(640, 540, 880, 780, tone="shade")


def _boat(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(480, 40, 530, 700, tone="shade")
    sheet.polygon((440, 90), (440, 620), (90, 620))
    sheet.polygon((570, 180), (570, 620), (880, 620))
    sheet.polygon((0, 680), (1000, 680), (820, 930), (180, 930), tone="shade")


def _fish(sheet: Sheet, state: str | None) -> None:
    sheet.polygon((600, 500), (1000, 190), (930, 500), (1000, 810), tone="shade")
    sheet.polygon((250, 330), (420, 110), (620, 330), tone="shade")
    sheet.ellipse(0, 230, 780, 770)
    sheet.ellipse(130, 370, 260, 500, tone="light")


def _cup(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(560, 330, 1000, 790)
    sheet.ellipse(670, 440, 890, 680, tone="cut")
    sheet.polygon((0, 240), (740, 240), (650, 960), (90, 960))
    sheet.ellipse(0, 100, 740, 390, tone="shade")
    sheet.ellipse(60, 140, 680, 350, tone="glow" if state == "full" else "light")


def _flower(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(465, 500, 535, 1000, tone="shade")
    sheet.ellipse(530, 760, 830, 900, tone="shade")
    for x, y in ((500, 160), (655, 250), (655, 430), (500, 520), (345, 430), (345, 250)):
        sheet.ellipse(x - 160, y - 160, x + 160, y + 160)
    sheet.ellipse(380, 220, 620, 460, tone="shade")


def _door(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(150, 0, 850, 1000, tone="shade")
    if state == "open":
        sheet.rectangle(230, 80, 770, 1000, tone="light")
        sheet.polygon((230, 80), (470, 190), (470, 1000), (230, 1000))
        sheet.ellipse(395, 560, 455, 640, tone="shade")
    else:
        sheet.rectangle(220, 70, 780, 1000)
        sheet.ellipse(640, 500, 730, 590, tone="shade")


def _flag(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(120, 0, 200, 1000, tone="shade")
    top = 40 if state == "raised" else 520
    sheet.polygon((200, top), (920, top + 60), (760, top + 230), (920, top + 400), (200, top + 440))


def _lamp(sheet: Sheet, state: str | None) -> None:
    if state == "lit":
        sheet.polygon((60, 480), (940, 480), (1000, 860), (0, 860), tone="glow")
    sheet.rectangle(460, 400, 540, 940, tone="shade")
    sheet.ellipse(240, 860, 760, 1000, tone="shade")
    sheet.polygon((330, 0), (670, 0), (900, 480), (100, 480))


def _candle(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(350, 380, 650, 930)
    sheet.rectangle(485, 290, 515, 390, tone="shade")
    sheet.ellipse(200, 860, 800, 1000, tone="shade")
    if state == "lit":
        sheet.ellipse(390, 90, 610, 350, tone="glow")
        sheet.polygon((500, 0), (600, 190), (400, 190), tone="glow")


def _features(sheet: Sheet, left: int, top: int, side: int, *, happy: bool) -> None:
    """Two eyes and a mouth on a square."""

    def at(x: int, y: int) -> Point:
        return left + x * side // 100, top + y * side // 100

    for x in (14, 62):
        sheet.ellipse(*at(x, 5), *at(x + 22, 35), tone="light")
        sheet.ellipse(*at(x + 5, 14), *at(x + 17, 32), tone="shade")
    if happy:
        sheet.pie(*at(8, 20), *at(92, 100), 20, 160, tone="shade")
    else:
        sheet.pie(*at(12, 58), *at(88, 138), 200, 340, tone="shade")
        sheet.pie(*at(26, 74), *at(74, 138), 180, 360)


def _face(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(180, 60, 1000, 1000)
    sheet.ellipse(0, 60, 820, 1000)
    sheet.rectangle(410, 60, 590, 1000)
    for x in (200, 340, 480, 620):
        sheet.polygon((x, 200), (x + 90, 0), (x + 180, 200), tone="shade")
    _features(sheet, 190, 300, 620, happy=state == "happy")


def _umbrella(sheet: Sheet, state: str | None) -> None:
    if state == "open":
        sheet.rectangle(470, 60, 530, 880, tone="shade")
        sheet.ellipse(470, 780, 770, 1000, tone="shade")
        sheet.ellipse(530, 740, 710, 940, tone="cut")
        sheet.rectangle(540, 700, 780, 870, tone="cut")
        sheet.pie(0, 80, 1000, 1080, 180, 360)
        for x in (0, 250, 500, 750):
            sheet.ellipse(x + 15, 500, x + 235, 660, tone="cut")
        sheet.rectangle(470, 540, 530, 880, tone="shade")
    else:
        sheet.rectangle(460, 0, 540, 900, tone="shade")
        sheet.ellipse(460, 780, 720, 1000, tone="shade")
        sheet.ellipse(540, 760, 640, 930, tone="cut")
        sheet.rectangle(545, 700, 730, 880, tone="cut")
        sheet.polygon((500, 60), (680, 560), (560, 700), (440, 700), (320, 560))


def _book(sheet: Sheet, state: str | None) -> None:
    if state == "open":
        sheet.polygon((0, 200), (500, 320), (500, 880), (0, 760))
        sheet.polygon((1000, 200), (500, 320), (500, 880), (1000, 760))
        sheet.polygon((70, 150), (490, 270), (490, 790), (70, 670), tone="light")
        sheet.polygon((930, 150), (510, 270), (510, 790), (930, 670), tone="light")
        for y in (290, 410, 530):
            sheet.line((140, y - 20), (420, y + 60), width=40, tone="shade")
            sheet.line((860, y - 20), (580, y + 60), width=40, tone="shade")
    else:
        sheet.rectangle(130, 0, 870, 1000)
        sheet.rectangle(130, 0, 260, 1000, tone="shade")
        sheet.rectangle(260, 900, 870, 960, tone="light")
        sheet.rectangle(370, 180, 770, 260, tone="light")
        sheet.rectangle(370, 330, 770, 410, tone="light")


def _bottle(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(410, 0, 590, 130, tone="shade")
    sheet.rectangle(420, 130, 580, 380)
    sheet.ellipse(270, 300, 730, 620)
    sheet.rectangle(270, 450, 730, 1000)
    sheet.rectangle(340, 500, 660, 930, tone="light")
    if state == "full":
        sheet.rectangle(340, 500, 660, 930, tone="glow")


def _bucket(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(60, 0, 940, 720, tone="shade")
    sheet.ellipse(120, 70, 880, 650, tone="cut")
    sheet.rectangle(0, 400, 1000, 760, tone="cut")
    sheet.polygon((40, 400), (960, 400), (800, 1000), (200, 1000))
    sheet.ellipse(40, 290, 960, 530, tone="shade")
    sheet.ellipse(110, 320, 890, 500, tone="glow" if state == "full" else "light")


def _box(sheet: Sheet, state: str | None) -> None:
    if state == "open":
        sheet.polygon((130, 400), (0, 130), (330, 60), (460, 400), tone="shade")
        sheet.polygon((870, 400), (1000, 130), (670, 60), (540, 400), tone="shade")
        sheet.rectangle(100, 380, 900, 1000)
        sheet.rectangle(180, 400, 820, 520, tone="light")
    else:
        sheet.rectangle(60, 160, 940, 1000)
        sheet.rectangle(60, 160, 940, 330, tone="shade")
        sheet.rectangle(430, 160, 570, 520, tone="light")


def _bird(sheet: Sheet, state: str | None) -> None:
    sheet.polygon((60, 430), (330, 360), (330, 500), tone="shade")
    sheet.ellipse(180, 230, 540, 590)
    sheet.ellipse(240, 380, 860, 820)
    sheet.polygon((760, 560), (1000, 380), (970, 640), (780, 720))
    sheet.polygon((420, 520), (830, 460), (560, 760), tone="shade")
    sheet.ellipse(270, 330, 370, 430, tone="light")
    sheet.line((480, 800), (460, 960), width=40, tone="shade")
    sheet.line((610, 800), (620, 960), width=40, tone="shade")


def _butterfly(sheet: Sheet, state: str | None) -> None:
    for flip in (False, True):
        for x0, y0, x1, y1 in ((20, 100, 490, 560), (110, 500, 490, 910)):
            sheet.ellipse(1000 - x1 if flip else x0, y0, 1000 - x0 if flip else x1, y1)
        for x0, y0, x1, y1 in ((120, 210, 330, 420), (200, 600, 360, 760)):
            sheet.ellipse(1000 - x1 if flip else x0, y0, 1000 - x0 if flip else x1, y1, tone="shade")
    sheet.ellipse(440, 200, 560, 930, tone="shade")
    sheet.line((480, 230), (340, 40), width=35, tone="shade")
    sheet.line((520, 230), (660, 40), width=35, tone="shade")


def _mushroom(sheet: Sheet, state: str | None) -> None:
    sheet.polygon((370, 520), (630, 520), (700, 1000), (300, 1000), tone="light")
    sheet.pie(0, 40, 1000, 1080, 180, 360)
    sheet.ellipse(180, 280, 350, 430, tone="light")
    sheet.ellipse(430, 140, 600, 290, tone="light")
    sheet.ellipse(670, 290, 830, 430, tone="light")


def _apple(sheet: Sheet, state: str | None) -> None:
    sheet.line((510, 290), (560, 60), width=60, tone="shade")
    sheet.ellipse(570, 20, 860, 180, tone="shade")
    sheet.ellipse(60, 220, 600, 880)
    sheet.ellipse(400, 220, 940, 880)
    sheet.ellipse(180, 500, 540, 990)
    sheet.ellipse(460, 500, 820, 990)


def _key(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(0, 300, 420, 720)
    sheet.ellipse(120, 420, 300, 600, tone="cut")
    sheet.rectangle(390, 450, 1000, 570)
    sheet.rectangle(740, 560, 830, 760)
    sheet.rectangle(910, 560, 1000, 700)


def _hammer(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(440, 260, 570, 1000, tone="shade")
    sheet.rectangle(160, 40, 800, 340)
    sheet.polygon((800, 40), (1000, 180), (1000, 240), (800, 260))


def _bell(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(390, 800, 610, 1000, tone="shade")
    sheet.ellipse(430, 0, 570, 150, tone="shade")
    sheet.ellipse(220, 80, 780, 660)
    sheet.polygon((220, 370), (780, 370), (860, 730), (140, 730))
    sheet.rectangle(60, 730, 940, 850)


def _hat(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(260, 140, 740, 760)
    sheet.ellipse(260, 90, 740, 190)
    sheet.rectangle(260, 560, 740, 690, tone="shade")
    sheet.ellipse(0, 680, 1000, 880)


def _chair(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(150, 0, 270, 1000)
    sheet.rectangle(150, 480, 850, 620)
    sheet.rectangle(730, 600, 850, 1000)
    sheet.rectangle(270, 60, 420, 180, tone="shade")
    sheet.rectangle(270, 260, 420, 340, tone="shade")
    sheet.rectangle(270, 620, 730, 680, tone="shade")


def _table(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(0, 240, 1000, 400)
    sheet.rectangle(430, 400, 570, 800, tone="shade")
    sheet.polygon((430, 720), (570, 720), (760, 860), (240, 860), tone="shade")


def _ladder(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(240, 0, 350, 1000)
    sheet.rectangle(650, 0, 760, 1000)
    for y in (110, 340, 570, 800):
        sheet.rectangle(300, y, 700, y + 90, tone="shade")


def _plane(sheet: Sheet, state: str | None) -> None:
    sheet.polygon((430, 480), (760, 60), (880, 60), (690, 520))
    sheet.polygon((430, 540), (700, 960), (830, 960), (690, 500), tone="shade")
    sheet.polygon((840, 460), (920, 200), (1000, 200), (960, 500), tone="shade")
    sheet.ellipse(0, 400, 1000, 620)
    sheet.ellipse(90, 440, 210, 520, tone="light")


def _rocket(sheet: Sheet, state: str | None) -> None:
    sheet.polygon((320, 560), (120, 860), (330, 840), tone="shade")
    sheet.polygon((680, 560), (880, 860), (670, 840), tone="shade")
    sheet.polygon((400, 820), (600, 820), (500, 1000), tone="glow")
    sheet.ellipse(300, 60, 700, 1040)
    sheet.rectangle(200, 840, 800, 1000, tone="cut")
    sheet.polygon((400, 840), (600, 840), (500, 1000), tone="glow")
    sheet.polygon((500, 0), (640, 240), (360, 240))
    sheet.ellipse(400, 320, 600, 520, tone="light")


def _cloud(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(0, 400, 400, 800)
    sheet.ellipse(160, 200, 620, 720)
    sheet.ellipse(430, 290, 840, 720)
    sheet.ellipse(640, 420, 1000, 800)
    sheet.rectangle(200, 560, 820, 800)


def _sun(sheet: Sheet, state: str | None) -> None:
    rays = (
        *((500, 0), (850, 150), (1000, 500), (850, 850)),
        *((500, 1000), (150, 850), (0, 500), (150, 150)),
    )
    for x, y in rays:
        across, down = (500 - y) // 6, (x - 500) // 6
        sheet.polygon((x, y), (500 + across, 500 + down), (500 - across, 500 - down), tone="shade")
    sheet.ellipse(190, 190, 810, 810)
    _features(sheet, 280, 320, 440, happy=state == "happy")


def _cactus(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(370, 0, 630, 260)
    sheet.rectangle(370, 130, 630, 1000)
    sheet.line((120, 280), (120, 600), (400, 600), width=180)
    sheet.line((880, 180), (880, 500), (600, 500), width=180)


def _snowman(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(190, 440, 810, 1000)
    sheet.ellipse(300, 140, 700, 520)
    sheet.rectangle(330, 0, 670, 150, tone="shade")
    sheet.rectangle(240, 130, 760, 190, tone="shade")
    sheet.ellipse(390, 260, 460, 330, tone="shade")
    sheet.ellipse(540, 260, 610, 330, tone="shade")
    sheet.line((210, 620), (20, 460), width=45, tone="shade")
    sheet.line((790, 620), (980, 460), width=45, tone="shade")
    for y in (580, 710, 840):
        sheet.ellipse(460, y, 540, y + 80, tone="shade")


def _ghost(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(120, 0, 880, 800)
    sheet.rectangle(120, 400, 880, 960)
    for x in (120, 373, 626):
        sheet.polygon((x + 63, 1001), (x + 127, 840), (x + 191, 1001), tone="cut")
    sheet.rectangle(120, 965, 880, 1000, tone="cut")
    _features(sheet, 240, 230, 520, happy=state == "happy")


def _crown(sheet: Sheet, state: str | None) -> None:
    sheet.polygon((60, 200), (300, 520), (500, 120), (700, 520), (940, 200), (860, 860), (140, 860))
    for x, y in ((60, 200), (500, 120), (940, 200)):
        sheet.ellipse(x - 60, y - 60, x + 60, y + 60, tone="shade")
    sheet.rectangle(140, 740, 860, 860, tone="shade")


def _anchor(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(60, 280, 940, 1000)
    sheet.ellipse(180, 220, 820, 860, tone="cut")
    sheet.rectangle(0, 200, 1000, 560, tone="cut")
    sheet.polygon((40, 680), (80, 460), (260, 620))
    sheet.polygon((960, 680), (920, 460), (740, 620))
    sheet.rectangle(440, 180, 560, 960)
    sheet.rectangle(260, 270, 740, 380)
    sheet.ellipse(380, 0, 620, 240)
    sheet.ellipse(450, 70, 550, 170, tone="cut")


def _clock(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(60, 0, 360, 300, tone="shade")
    sheet.ellipse(640, 0, 940, 300, tone="shade")
    sheet.polygon((260, 800), (140, 1000), (240, 1000), (400, 860), tone="shade")
    sheet.polygon((740, 800), (860, 1000), (760, 1000), (600, 860), tone="shade")
    sheet.ellipse(60, 100, 940, 980)
    sheet.ellipse(190, 230, 810, 850, tone="light")
    sheet.line((500, 540), (500, 320), width=60, tone="shade")
    sheet.line((500, 540), (650, 620), width=60, tone="shade")


def _envelope(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(0, 170, 1000, 830)
    sheet.line((40, 210), (500, 560), (960, 210), width=70, tone="light")


def _frame(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(0, 0, 1000, 1000)
    sheet.rectangle(60, 60, 940, 940, tone="shade")
    sheet.rectangle(120, 120, 880, 880, tone="cut")
    for x in (0, 880):
        for y in (0, 880):
            sheet.rectangle(x, y, x + 120, y + 120)


def _jar(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(200, 0, 800, 130, tone="shade")
    sheet.polygon((220, 130), (780, 130), (920, 270), (920, 1000), (80, 1000), (80, 270))
    sheet.polygon((280, 210), (720, 210), (820, 310), (820, 910), (180, 910), (180, 310), tone="cut")


def _cage(sheet: Sheet, state: str | None) -> None:
    sheet.ellipse(440, 0, 560, 120, tone="shade")
    sheet.pie(60, 80, 940, 960, 180, 360)
    sheet.pie(140, 160, 860, 880, 180, 360, tone="cut")
    sheet.rectangle(60, 520, 140, 960)
    sheet.rectangle(860, 520, 940, 960)
    for x in (250, 480, 710):
        sheet.rectangle(x, 190, x + 40, 960)
    sheet.rectangle(30, 880, 970, 1000, tone="shade")


def _television(sheet: Sheet, state: str | None) -> None:
    sheet.line((500, 190), (300, 20), width=40, tone="shade")
    sheet.line((500, 190), (700, 20), width=40, tone="shade")
    sheet.rectangle(160, 930, 300, 1000, tone="shade")
    sheet.rectangle(700, 930, 840, 1000, tone="shade")
    sheet.rectangle(0, 180, 1000, 940)
    sheet.rectangle(90, 270, 910, 850, tone="cut")


def _drum(sheet: Sheet, state: str | None) -> None:
    sheet.rectangle(80, 330, 920, 880)
    sheet.ellipse(80, 760, 920, 1000)
    sheet.line((120, 420), (300, 840), (500, 480), (700, 840), (880, 420), width=50, tone="light")
    sheet.rectangle(80, 280, 920, 360, tone="shade")
    sheet.ellipse(80, 180, 920, 420, tone="light")
    sheet.line((560, 290), (860, 40), width=50, tone="shade")
    sheet.line((440, 290), (140, 40), width=50, tone="shade")


def _balloon(sheet: Sheet, state: str | None) -> None:
    sheet.line((500, 720), (540, 820), (470, 900), (510, 1000), width=35, tone="shade")
    sheet.ellipse(190, 0, 810, 720)
    sheet.polygon((500, 690), (420, 790), (580, 790))
    sheet.ellipse(310, 110, 430, 280, tone="light")


DRAWINGS: Mapping[str, Drawing] = MappingProxyType(
    {
        "circle": _circle,
        "square": _square,
        "triangle": _triangle,
        "star": _star,
        "heart": _heart,
        "cross": _cross,
        "moon": _moon,
        "ring": _ring,
        "arrow": _arrow,
        "house": _house,
        "tree": _tree,
        "car": _car,
        "boat": _boat,
        "fish": _fish,
        "cup": _cup,
        "flower": _flower,
        "door": _door,
        "flag": _flag,
        "lamp": _lamp,
        "candle": _candle,
        "face": _face,
        "umbrella": _umbrella,
        "book": _book,
        "bottle": _bottle,
        "bucket": _bucket,
        "box": _box,
        "bird": _bird,
        "butterfly": _butterfly,
        "mushroom": _mushroom,
        "apple": _apple,
        "key": _key,
        "hammer": _hammer,
        "bell": _bell,
        "hat": _hat,
        "chair": _chair,
        "table": _table,
        "ladder": _ladder,
        "plane": _plane,
        "rocket": _rocket,
        "cloud": _cloud,
        "sun": _sun,
        "cactus": _cactus,
        "snowman": _snowman,
        "ghost": _ghost,
        "crown": _crown,
        "anchor": _anchor,
        "clock": _clock,
        "envelope": _envelope,
        "balloon": _balloon,
        "drum": _drum,
        "frame": _frame,
        "jar": _jar,
        "cage": _cage,
        "television": _television,
    }
)
"""How to draw every kind of `scenes.world.WORLD`."""

INTERIORS: Mapping[str, tuple[int, int, int, int]] = MappingProxyType(
    {
        "ring": (140, 140, 860, 860),
        "frame": (120, 120, 880, 880),
        "jar": (120, 210, 880, 910),
        "cage": (120, 190, 880, 880),
        "television": (90, 270, 910, 850),
    }
)
"""The free space within the kinds that can hold another thing, in thousandths of their width and height."""
