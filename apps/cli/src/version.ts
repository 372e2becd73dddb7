/** The version of this release; the package's own. */
export const VERSION = "0.1.0";
