// A dialog over the page: modal, closed by Escape, by its button and by a click beside it.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";

import { Close } from "./icons";

interface Props {
  title: string;
  kind: string;
  onClose: () => void;
  actions?: ComponentChildren;
  children: ComponentChildren;
}

export function Dialog({ title, kind, onClose, actions, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const name = useId();
  useEffect(() => {
    const shown = dialog.current!;
    const before = document.activeElement;
    shown.showModal();
    return () => {
      shown.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={kind}
      aria-labelledby={name}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={(event) => event.target === dialog.current && onClose()}
    >
      <div class="dialog-head">
        <h2 id={name} tabIndex={-1} autofocus>
          {title}
        </h2>
        {actions}
        <button type="button" class="round" aria-label="Close" onClick={onClose}>
          <Close />
        </button>
      </div>
      {children}
    </dialog>
  );
}
