// What went wrong, said where it happened.

import type { Trouble } from "./api";

export function TroubleNote({ trouble, onRetry }: { trouble: Trouble; onRetry?: () => void }) {
  return (
    <div class="trouble" role="alert">
      <strong>{trouble.title}</strong>
      {trouble.message && <span>{trouble.message}</span>}
      {trouble.retryAfterS !== null && <span>In {trouble.retryAfterS} s it may go better.</span>}
      {onRetry && (
        <button type="button" class="quiet" onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}
