/**
 * The form of the intentions' view: what would happen between two services, and why. The package that every proxy asks decides here
 * too, over the rules that the page follows, so a change of them shows at once.
 */
import { type Explanation, explain, type Intention } from "@heddle/intentions";
import { element, toRow } from "./dom.ts";
import type { Cell } from "./lists.ts";

const KIND = "#intentions";

interface Rules {
  intentions: readonly Intention[];
  /** What holds where no rule matches; undefined until it is known. */
  defaultAllow?: boolean | undefined;
}

/** Keeps the form and its answer: `show` with each new address of the page, `take` with what is learnt of the rules. */
export interface Explainer {
  show(hash: string): void;
  take(rules: Partial<Rules>): void;
}

export function createExplainer(): Explainer {
  const source = element("source") as HTMLInputElement;
  const destination = element("destination") as HTMLInputElement;
  let rules: Partial<Rules> = {};
  let asked: { source: string; destination: string } | undefined;

  function answer(): void {
    const { intentions, defaultAllow } = rules;
    element("explanation").hidden = !asked;
    if (!asked || !intentions || defaultAllow === undefined) return;
    draw(explain({ ...asked, intentions, defaultAllow }));
  }

  element("explain").addEventListener("submit", (event) => {
    event.preventDefault();
    asked = { source: source.value.trim(), destination: destination.value.trim() };
    const names = [asked.source, asked.destination].map(encodeURIComponent).join("/");
    // The address leads back to this answer, and is not a new place in the history of the browser for each question.
    history.replaceState(null, "", `${KIND}/${names}`);
    answer();
  });

  return {
    show(hash) {
      const [kind, ...names] = hash.split("/");
      element("explain-view").hidden = kind !== KIND;
      const [from, to] = names.map(decode);
      asked = from && to ? { source: from, destination: to } : undefined;
      source.value = from ?? "";
      destination.value = to ?? "";
      rules = {};
      clear();
      answer();
    },
    take(learnt) {
      rules = { ...rules, ...learnt };
      answer();
    },
  };
}

function draw({ Source, Destination, Allowed, Reason, Rule, Default, Trace }: Explanation): void {
  const decision = element("decision");
  decision.className = Allowed ? "allow" : "deny";
  say(decision, `${Source} → ${Destination}: ${word(Allowed)}`);
  say(
    element("deciding-rule"),
    Rule ? `${Rule.Source} → ${Rule.Destination} ${Rule.Action}, precedence ${Rule.Precedence}` : "none matches",
  );
  say(element("reason"), Reason);
  say(element("default"), `${word(Default.Allowed)} (${Default.Reason})`);
  element("trace").hidden = Trace.length === 0;
  const rows = Trace.map((step): Cell[] => [
    { text: `${step.Source} → ${step.Destination}` },
    { text: step.Action, ...(["allow", "deny"].includes(step.Action) && { className: step.Action }) },
    { text: String(step.Precedence) },
    { text: step.Outcome },
    { text: step.Why },
  ]);
  element("steps").replaceChildren(...rows.map((cells) => toRow("td", cells)));
}

function clear(): void {
  for (const id of ["decision", "deciding-rule", "reason", "default"]) say(element(id), "");
  element("steps").replaceChildren();
  element("trace").hidden = true;
}

const word = (isAllowed: boolean): string => (isAllowed ? "allowed" : "denied");

/** A reader of screens speaks what is written into a live region, so what is the same is left alone. */
function say(where: HTMLElement, text: string): void {
  if (where.textContent !== text) where.textContent = text;
}

function decode(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
