/** How the bus of a control plane is named on the command line. */
import { InvalidArgumentError } from "commander";
import { isNatsName, isNatsUrl } from "../config/fleet-names.ts";

/** A server's URL: no user and no password. */
export function readNatsUrl(text: string, before: readonly string[]): string[] {
  if (!isNatsUrl(text)) throw new InvalidArgumentError('Expected "nats://host:port", or "tls://host:port".');
  return [...before, text];
}

/** Name of the fleet on the bus. */
export function readNatsName(text: string): string {
  if (!isNatsName(text)) throw new InvalidArgumentError("Expected 1 to 32 letters, digits, - and _.");
  return text;
}

/** Copies of the streams. */
export function readReplicas(text: string): number {
  if (!/^[135]$/.test(text)) throw new InvalidArgumentError("Expected 1, 3 or 5.");
  return Number(text);
}
