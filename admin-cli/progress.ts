/** How far long work is: one line on a terminal that is written over; nothing elsewhere. */
export function progressOf(
  verb: string,
  total: number,
): { readonly step: () => void; readonly end: () => void } {
  let done = 0
  let shownAt = 0
  const { isTTY } = process.stderr
  return {
    step: () => {
      done += 1
      if (!isTTY || Date.now() - shownAt < 200) return
      shownAt = Date.now()
      process.stderr.write(`\r\x1b[K${done} of ${total} ${verb}`)
    },
    end: () => {
      if (isTTY) process.stderr.write('\r\x1b[K')
    },
  }
}
