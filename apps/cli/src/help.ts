/** Help texts: of the program, of a group of commands, of one command. */
import { apiFlags, type Command, commandFlags } from "./command.ts";
import type { Entry, Group } from "./commands.ts";
import { type FlagTable, toFlagName } from "./flags.ts";

const WIDTH = 76;

/** `path` is "kv" or "connect ca"; empty for the program itself. */
export function groupHelp(group: Group, path: string): string {
  const head =
    path === ""
      ? "Usage: heddle [--version] [--help] <command> [<args>]"
      : `Usage: heddle ${path} <subcommand> [options] [args]`;
  const title = path === "" ? "Available commands are:" : "Subcommands:";
  return `${head}\n\n${indent(group.about)}${title}\n${commandList(group.commands)}\n`;
}

export function commandHelp(spec: Command): string {
  const usage = spec.usage.split("\n").map((line) => `Usage: heddle ${line}\n`);
  return `${usage.join("")}\n${indent(spec.about)}${flagList("HTTP API Options", apiFlags(spec))}${flagList("Command Options", commandFlags(spec))}`;
}

function commandList(commands: Record<string, Entry>): string {
  const width = Math.max(...Object.keys(commands).map((name) => name.length));
  return Object.entries(commands)
    .map(([name, { synopsis }]) => `    ${name.padEnd(width)}    ${synopsis}\n`)
    .join("");
}

function flagList(title: string, flags: FlagTable): string {
  const names = Object.keys(flags).sort();
  if (names.length === 0) return "";
  const items = names.map((key) => {
    const { help, isBoolean, default: initial, shown, env = [], isRepeatable } = flags[key] as FlagTable[string];
    const facts = [
      help,
      isRepeatable ? "May be given several times." : "",
      env.length > 0 ? `Also read from ${env.join(", then ")}.` : "",
      !isRepeatable && initial !== "" && initial !== false
        ? `Default: ${shown ?? (typeof initial === "string" ? JSON.stringify(initial) : String(initial))}.`
        : "",
    ];
    return `  -${toFlagName(key)}${isBoolean ? "" : "=<value>"}\n${wrap(facts.filter(Boolean).join(" "), "     ")}`;
  });
  return `${title}\n\n${items.join("\n")}\n`;
}

/** Paragraphs wrapped and indented by two spaces, examples (indented already) as they are; a blank line behind. */
function indent(text: string): string {
  const blocks = text.trim().split("\n\n").filter(Boolean);
  return blocks
    .map(
      (block) =>
        `${/^ {4}/.test(block) ? block.replace(/^/gm, "  ").concat("\n") : wrap(block.replaceAll("\n", " "), "  ")}\n`,
    )
    .join("");
}

function wrap(text: string, margin: string): string {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1) as string;
    if (line !== "" && margin.length + line.length + 1 + word.length > WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines.map((line) => `${margin}${line}\n`).join("");
}
