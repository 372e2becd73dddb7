/** Why entries make no chain; `compileChain` turns it into its result. */
export class ChainError extends Error {
  override readonly name = "ChainError";
}

/** Throws a ChainError. */
export function refuse(text: string): never {
  throw new ChainError(text);
}
