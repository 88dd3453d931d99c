"""Whoever is stopped cleans up, however impatiently they are stopped."""

import signal
import unittest
from pathlib import Path

from tools.processes import STOPPING, CleanExit, Process, stopped_by_signals


class Stopping(unittest.TestCase):
    def test_only_the_first_signal_interrupts(self) -> None:
        before = [signal.getsignal(number) for number in STOPPING]
        for first in STOPPING:
            with self.subTest(first.name):
                cleaned = False
                with self.assertRaises(KeyboardInterrupt), stopped_by_signals():
                    try:
                        signal.raise_signal(first)
                    finally:
                        for number in STOPPING:
                            signal.raise_signal(number)
                        cleaned = True
                self.assertTrue(cleaned)
        self.assertEqual([signal.getsignal(number) for number in STOPPING], before)

    def test_a_signal_between_the_two_leaves_no_process(self) -> None:
        with self.assertRaises(KeyboardInterrupt), stopped_by_signals(), CleanExit() as stack:
            child = stack.enter_context(Process(["sleep", "600"], Path("/")))
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGINT)
        self.assertEqual(child.exit_code, -signal.SIGTERM)


if __name__ == "__main__":
    unittest.main()
