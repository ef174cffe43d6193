// What is dropped or pasted anywhere on the page.

import { useLayoutEffect, useState } from "preact/hooks";

import { useLatest } from "./hooks";
import { chosen, dropped, type Found } from "./pictures";

/** Take what is dropped or pasted anywhere; tells whether files are being dragged over the page. */
export function useDrops(take: (found: Found[] | null, hasFolder: boolean) => void): boolean {
  const [isDragging, setDragging] = useState(false);
  const latest = useLatest(take);
  useLayoutEffect(() => {
    const over = (event: DragEvent) => {
      if (![...(event.dataTransfer?.items ?? [])].some(({ kind }) => kind === "file")) return;
      event.preventDefault();
      setDragging(true);
    };
    const leave = (event: DragEvent) => event.relatedTarget === null && setDragging(false);
    const drop = (event: DragEvent) => {
      event.preventDefault();
      setDragging(false);
      const { hasFolder, files } = dropped(event.dataTransfer);
      files.then((found) => latest(found, hasFolder)).catch(() => latest(null, false));
    };
    const paste = (event: ClipboardEvent) => {
      const found = chosen(event.clipboardData?.files ?? null);
      if (found.length) latest(found, false);
    };
    addEventListener("dragover", over);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    addEventListener("paste", paste);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
      removeEventListener("paste", paste);
    };
  }, []);
  return isDragging;
}
