export { COMMANDS } from "./commands.ts";
export { main } from "./main.ts";
export type { Command, Context } from "./command.ts";
export type { Entry, Group, Leaf, Program } from "./commands.ts";
export type { Terminal } from "./terminal.ts";
