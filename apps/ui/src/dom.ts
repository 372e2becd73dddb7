/** What the page's parts make their rows with. All that was registered becomes text, never markup. */
import type { Cell } from "./lists.ts";

export function element(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

export function toRow(kind: "td" | "th", cells: Cell[]): HTMLTableRowElement {
  const row = document.createElement("tr");
  for (const { text, className, href } of cells) {
    const cell = document.createElement(kind);
    if (kind === "th") cell.scope = "col";
    if (className) cell.className = className;
    if (href) {
      const link = document.createElement("a");
      link.href = href;
      link.textContent = text;
      cell.append(link);
    } else cell.textContent = text;
    row.append(cell);
  }
  return row;
}
