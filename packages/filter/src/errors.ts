/** What is wrong with an expression, in the words of go-bexpr: Consul's clients have seen them. */
import { HeddleError } from "@heddle/daemon";

/** Answered with 500, as Consul's servers do: the expression is compiled behind its RPC. Our own limits answer 400. */
export class FilterError extends HeddleError {
  /** True where the text is an expression, but not one about these fields. */
  readonly isAboutFields: boolean;

  constructor(message: string, { isAboutFields = false, status = 500, cause }: FilterErrorOptions = {}) {
    super("invalid_argument", message, { cause, status });
    this.isAboutFields = isAboutFields;
  }
}

export interface FilterErrorOptions {
  cause?: unknown;
  status?: number;
  isAboutFields?: boolean;
}
