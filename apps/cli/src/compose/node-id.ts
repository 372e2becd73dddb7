export { nodeId } from "@heddle/agent";
