/** The argument, before the version of the one that asks and a file's path, that makes the program a reader of that config. It is not a command for people. */
export const READING_COMMAND = "read-config";

/** How the reader ends when the one that asked is of another version: each takes the other's configs for its own. */
export const REPLACED_STATUS = 4;
