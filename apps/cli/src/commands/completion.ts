/** `heddle completion bash|zsh|fish`: what to put into a shell's start file, and the words that the shell then asks for. */
import { apiFlags, command, commandFlags, CommandError } from "../command.ts";
import { COMMANDS, type Entry } from "../commands.ts";
import { toFlagName } from "../flags.ts";

const SCRIPTS: Record<string, string> = {
  bash: 'complete -o bashdefault -o default -C "heddle completion line" heddle\n',
  zsh: 'autoload -U +X bashcompinit && bashcompinit\ncomplete -o bashdefault -o default -C "heddle completion line" heddle\n',
  fish: "complete -c heddle -a '(COMP_LINE=(commandline -cp) heddle completion line)'\n",
};

export const completion = command({
  usage: "completion bash|zsh|fish",
  about: `Prints what completes commands and flags in a shell.

    $ heddle completion bash >> ~/.bashrc
    $ heddle completion zsh >> ~/.zshrc
    $ heddle completion fish > ~/.config/fish/completions/heddle.fish`,
  argumentsAreData: true,
  async run({ args, terminal }) {
    const [shell = ""] = args;
    if (shell === "line") {
      for (const word of await candidates(terminal.env.COMP_LINE ?? "")) terminal.out(`${word}\n`);
      return;
    }
    const script = Object.hasOwn(SCRIPTS, shell) ? SCRIPTS[shell] : undefined;
    if (script === undefined)
      throw new CommandError(`unknown shell '${shell}': want one of ${Object.keys(SCRIPTS).join(", ")}`);
    terminal.out(script);
  },
});

/** The words that may stand where the line ends. */
export async function candidates(line: string): Promise<string[]> {
  const words = line.trimStart().split(/\s+/);
  const last = words.pop() ?? "";
  let entry: Entry = COMMANDS;
  for (const word of words.slice(1)) {
    if (!("commands" in entry)) break;
    const next: Entry | undefined = Object.hasOwn(entry.commands, word) ? entry.commands[word] : undefined;
    if (next) entry = next;
  }
  return (await wordsOf(entry)).filter(
    (word) => word.startsWith(last.replace(/^--/, "-")) && (last !== "" || !word.startsWith("-")),
  );
}

async function wordsOf(entry: Entry): Promise<string[]> {
  if ("commands" in entry) return Object.keys(entry.commands);
  if ("program" in entry) {
    const words = (await entry.program()).words();
    return typeof words === "string" ? [...words.matchAll(/^ {2}(-[\w-]+)/gm)].map(([, name = ""]) => name) : words;
  }
  const spec = await entry.load();
  return Object.keys({ ...apiFlags(spec), ...commandFlags(spec), help: "" })
    .map((key) => `-${toFlagName(key)}`)
    .sort();
}
