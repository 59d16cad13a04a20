/** The node's own messages: one line each, for a person, on standard error. Not the access log. */

/** How grave a message is. */
export type LogLevel = "info" | "warning" | "error";

/** Takes a message of the node: one sentence without a line break. */
export type NodeLog = (level: LogLevel, message: string) => void;

/** A line of the log: control characters of foreign text can not forge another line or move the cursor. */
export function logLine(level: LogLevel, message: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not reach a terminal
  const plain = message.replace(/\s*\n\s*/g, "; ").replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/g, "?");
  return `proxima: ${level === "info" ? "" : `${level}: `}${plain}\n`;
}
