/** Reads a Dockerfile into its stages, for the tests: continued lines, comments, JSON and shell forms; no variables. */

export interface Instruction {
  name: string;
  /** `--from=build` as { from: "build" }. */
  flags: Record<string, string>;
  /** The words: those of the JSON form, or split at blanks. */
  words: string[];
  text: string;
}

export interface Stage {
  image: string;
  name: string;
  instructions: Instruction[];
}

export interface ImageFacts {
  entrypoint: string[];
  command: string[];
  user: string;
  env: Record<string, string>;
  healthcheck: string[];
}

export function parseDockerfile(text: string): Stage[] {
  const lines = text
    .replace(/^\s*#.*\n/gm, "")
    .replace(/\\\n/g, " ")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  const stages: Stage[] = [];
  for (const line of lines) {
    const instruction = parseInstruction(line);
    if (instruction.name === "FROM") {
      const [image = "", as, name = ""] = instruction.words;
      stages.push({ image, name: as?.toUpperCase() === "AS" ? name : "", instructions: [] });
      continue;
    }
    const stage = stages.at(-1);
    if (!stage) throw new Error(`Dockerfile: '${line}' stands before the first FROM`);
    stage.instructions.push(instruction);
  }
  return stages;
}

export function imageFacts(stage: Stage): ImageFacts {
  const last = (name: string) => stage.instructions.findLast((i) => i.name === name);
  const env = stage.instructions.filter((i) => i.name === "ENV").flatMap((i) => i.words);
  return {
    entrypoint: last("ENTRYPOINT")?.words ?? [],
    command: last("CMD")?.words ?? [],
    user: last("USER")?.words[0] ?? "0:0",
    env: Object.fromEntries(env.map((pair) => [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)])),
    healthcheck: healthcheckCommand(last("HEALTHCHECK")),
  };
}

function healthcheckCommand(instruction: Instruction | undefined): string[] {
  const command = /CMD\s+(\[.*\])$/.exec(instruction?.text ?? "")?.[1];
  return command ? (JSON.parse(command) as string[]) : [];
}

function parseInstruction(line: string): Instruction {
  const [, name = "", rest = ""] = /^(\w+)\s+(.*)$/s.exec(line) ?? [];
  const flags: Record<string, string> = {};
  const text = rest.replace(/^(?:--([\w-]+)=(\S+)\s+)+/, (all) => {
    for (const [, key = "", value = ""] of all.matchAll(/--([\w-]+)=(\S+)/g)) flags[key] = value;
    return "";
  });
  const words = text.startsWith("[") ? (JSON.parse(text) as string[]) : text.split(/\s+/);
  return { name: name.toUpperCase(), flags, words, text };
}
