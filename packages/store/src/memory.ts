/** A backend that keeps nothing: what `agent -dev` runs on. */
import type { Backend } from "./record.ts";

export function memoryBackend(): Backend {
  return { load: () => Promise.resolve(0), close: () => Promise.resolve() };
}
