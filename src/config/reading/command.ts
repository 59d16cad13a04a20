/** The argument, before a file's path, that makes the program a reader of that config. It is not a command for people. */
export const READING_COMMAND = "read-config";
