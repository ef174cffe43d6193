// Pictures out of what was chosen, dropped or pasted: files, and folders with all that is in them.

/** A picture with the path that it has within what was dropped. */
export interface Found {
  path: string;
  file: File;
}

const ENDINGS = /\.(jpe?g|png|webp|gif|bmp|tiff?|ppm|avif)$/i;

export const isPicture = (file: File): boolean => file.type.startsWith("image/") || ENDINGS.test(file.name);

/** Give the files of a file input; those of a folder have their path in it. */
export function chosen(files: FileList | null): Found[] {
  return [...(files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** Give what was dropped or pasted. Must be called before the event is over: afterwards its entries are gone. */
export function dropped(data: DataTransfer | null): { hasFolder: boolean; files: Promise<Found[]> } {
  const items = [...(data?.items ?? [])].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry() ?? item.getAsFile());
  const hasFolder = entries.some((entry) => entry !== null && !(entry instanceof File) && entry.isDirectory);
  const files = Promise.all(entries.map((entry) => (entry === null ? [] : walk(entry)))).then((found) => found.flat());
  return { hasFolder, files };
}

async function walk(entry: FileSystemEntry | File): Promise<Found[]> {
  if (entry instanceof File) return [{ path: entry.name, file: entry }];
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [{ path: entry.fullPath.replace(/^\//, ""), file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const found: Found[] = [];
  for (;;) {
    // A folder is read in pieces, the last of which is empty.
    const piece = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (piece.length === 0) return found;
    for (const child of piece) found.push(...(await walk(child)));
  }
}
