/** What is wrong with an expression, in the words of go-bexpr: Consul's clients have seen them. */
import { HeddleError } from "@heddle/daemon";

/** Answered with 500, as Consul's servers do: the expression is compiled behind its RPC. */
export class FilterError extends HeddleError {
  /** True where the text is an expression, but not one about these fields. */
  readonly isAboutFields: boolean;

  constructor(message: string, { isAboutFields = false, ...options }: FilterErrorOptions = {}) {
    super("invalid_argument", message, { ...options, status: 500 });
    this.isAboutFields = isAboutFields;
  }
}

export interface FilterErrorOptions {
  cause?: unknown;
  isAboutFields?: boolean;
}
