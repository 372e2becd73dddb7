// `npm start`: brings what a plain clone lacks, then the article's mesh (tools/demo.ts) in the pinned Node. Runs on Node 20.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { node, root, setup } from "./setup.mjs";

try {
  setup();
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
const child = spawn(node, [join(root, "tools/demo.ts"), ...process.argv.slice(2)], { stdio: "inherit" });
// The terminal sends Ctrl-C to the child too: it ends everything, and this waits for it.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => child.kill("SIGTERM"));
child.on("exit", (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
