/** What goes wrong with a store beside what a command refuses. */
import { HeddleError } from "@heddle/daemon";

/** A commit that was bound to a condition which holds no more: this server does not lead now, or somebody else's word counts. */
export class FencedError extends HeddleError {
  constructor() {
    super("conflict", "this server is not the one that does this work any more: nothing was written");
  }
}
