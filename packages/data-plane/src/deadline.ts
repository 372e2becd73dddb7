/**
 * Calls back when the time is over and nothing has called it off. A loop that was late runs its timers before it looks at its sockets:
 * what came in time is heard first. Returns what calls it off.
 */
export function deadline(ms: number, onPassed: () => void): () => void {
  let isOff = false;
  const timer = setTimeout(() => setImmediate(() => isOff || onPassed()), ms);
  return () => {
    isOff = true;
    clearTimeout(timer);
  };
}
