/** A read that can be followed: its answer as it stands, and word of each change. What the change stream carries of other daemons. */

export interface Followable {
  /** Grows with each change and never falls; 0 while there is no answer yet. */
  index: () => number;
  answer: () => unknown;
  /** Calls back after each change; returns its undoing. */
  onChanged: (listener: () => void) => () => void;
}
