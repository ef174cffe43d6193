// The few drawings that buttons carry.

import type { ComponentChildren } from "preact";

const icon = (drawing: ComponentChildren) => () => (
  <svg viewBox="0 0 24 24" aria-hidden="true">
    {drawing}
  </svg>
);

export const Glass = icon(<><circle cx="11" cy="11" r="7" /><path d="m20 20-4-4" /></>);
export const Picture = icon(
  <><rect x="3" y="5" width="18" height="14" rx="3" /><circle cx="9" cy="10.5" r="1.6" /><path d="m4 17 5-4 4 3 3-2.5 4 3.5" /></>,
);
export const Plus = icon(<path d="M12 5v14M5 12h14" />);
export const Close = icon(<path d="m6 6 12 12M18 6 6 18" />);
export const Funnel = icon(<path d="M4 6h16M7 12h10M10 18h4" />);
export const Alike = icon(<><rect x="4" y="4" width="11" height="11" rx="2.5" /><path d="M19 9v8a2 2 0 0 1-2 2H9" /></>);
export const Pen = icon(<path d="M4 20h4L19 9l-4-4L4 16zM13 7l4 4" />);
export const Left = icon(<path d="m14 6-6 6 6 6" />);
export const Right = icon(<path d="m10 6 6 6-6 6" />);
export const Folder = icon(<path d="M3 7a2 2 0 0 1 2-2h4l2 2.500h8a2 2 0 0 1 2 2V17a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2z" />);
