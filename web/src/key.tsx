// The question for a key, when the server wants one.

import { useEffect, useState } from "preact/hooks";

import { onKeyWanted } from "./api";
import { Dialog } from "./dialog";

interface Wanted {
  why: "needed" | "write";
  answer: (key: string | null) => void;
}

export function KeyDialog() {
  const [wanted, setWanted] = useState<Wanted | null>(null);
  useEffect(
    () =>
      onKeyWanted(
        (why) =>
          new Promise((resolve) =>
            setWanted({
              why,
              answer: (key) => {
                setWanted(null);
                resolve(key);
              },
            }),
          ),
      ),
    [],
  );
  if (!wanted) return null;
  return (
    <Dialog
      title={wanted.why === "write" ? "Adding needs a key that may write" : "This server wants a key"}
      kind="small"
      onClose={() => wanted.answer(null)}
    >
      <form
        class="dialog-body"
        onSubmit={(event) => {
          event.preventDefault();
          wanted.answer(String(new FormData(event.currentTarget).get("key")).trim() || null);
        }}
      >
        {wanted.why === "write" && <p>The key in use may only read.</p>}
        <label class="field">
          <span>Key</span>
          <input name="key" type="password" required autocomplete="off" autofocus />
        </label>
        <p class="hint">It is kept until this tab is closed.</p>
        <button class="go" type="submit">
          Use it
        </button>
      </form>
    </Dialog>
  );
}
