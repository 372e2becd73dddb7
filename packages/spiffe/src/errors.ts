/** What the identity packages throw. They sit below `@heddle/daemon`, so the class carries its code and status itself. */

/** An identity, certificate or request that breaks a rule; the message names the rule and what was given. */
export class IdentityError extends Error {
  readonly code = "invalid_argument";
  readonly status = 400;
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "IdentityError";
  }
}
