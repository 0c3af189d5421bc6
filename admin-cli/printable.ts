/** Texts of somebody else's making: no control characters reach a terminal. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '?')
}
