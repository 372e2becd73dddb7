// `npm test`: brings what a plain clone lacks, then runs every check (tools/test.ts) in the pinned Node. Runs on Node 20.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { node, root, setup } from "./setup.mjs";

try {
  setup();
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
process.exit(
  spawnSync(node, [join(root, "tools/test.ts"), ...process.argv.slice(2)], { stdio: "inherit", cwd: root }).status ?? 1,
);
