/** The cursor of `heddle watch -cursor=FILE`: what was told last, in a file of the user's alone. */
import { readFileSync } from "node:fs";
import type { WatchCursor, WatchPosition } from "@heddle/api-client";
import { CommandError } from "./command.ts";
import { fileProblem } from "./data.ts";

/** Throws CommandError where the file is there and holds something else, which is then left alone. */
export function fileCursor(path: string): WatchCursor {
  return {
    load() {
      let text: string;
      try {
        text = readFileSync(path, "utf8");
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw new CommandError(`cannot read the cursor '${path}': ${fileProblem(cause)}`, 1, { cause });
      }
      try {
        const position = JSON.parse(text) as WatchPosition;
        if (typeof position.watch === "string" && typeof position.origin === "string") return position;
      } catch {
        // as below
      }
      throw new CommandError(`'${path}' is no cursor of a watch: give another file`);
    },
    async save(position) {
      const { write0600 } = await import("@heddle/tls");
      try {
        write0600(path, `${JSON.stringify(position)}\n`);
      } catch (cause) {
        throw new CommandError(`cannot write the cursor '${path}': ${fileProblem(cause)}`, 1, { cause });
      }
    },
  };
}
