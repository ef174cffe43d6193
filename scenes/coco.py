"""What is in drawn scenes, in the format of COCO's instances: kinds as classes, a box for every thing."""

from typing import Any

from scenes.scene import Scene


class Detection:
    """A file of instances that grows by scenes."""

    def __init__(self) -> None:
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._names: dict[str, str] = {}

    def add(self, name: str, scene: Scene) -> None:
        """Add a scene; a thing that is several has a box for each of them.

        Args:
            name: of the picture's file.
            scene: what is in it.
        """
        number = len(self._images) + 1
        self._images.append({"id": number, "file_name": name, "width": scene.image.width, "height": scene.image.height})
        for thing in scene.objects:
            self._names.setdefault(thing.kind, scene.world.kinds[thing.kind][0])
            for x0, y0, x1, y1 in thing.boxes_px:
                self._annotations.append(
                    {
                        "id": len(self._annotations) + 1,
                        "image_id": number,
                        "category_id": thing.kind,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": (x1 - x0) * (y1 - y0),
                        "iscrowd": 0,
                    }
                )

    def file(self) -> dict[str, Any]:
        """Return the file; classes are numbered in the order of their names."""
        numbers = {kind: at for at, kind in enumerate(sorted(self._names), 1)}
        return {
            "images": self._images,
            "categories": [{"id": numbers[kind], "name": self._names[kind]} for kind in sorted(self._names)],
            "annotations": [{**one, "category_id": numbers[one["category_id"]]} for one in self._annotations],
        }
