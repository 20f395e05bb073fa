import unittest

from ledger import Ledger


class LedgerTest(unittest.TestCase):
    def setUp(self):
        self.ledger = Ledger()
        self.ledger.deposit("ann", 1000)

    def test_new_name_has_nothing(self):
        self.assertEqual(self.ledger.balance("bob"), 0)

    def test_deposits_add_up(self):
        self.ledger.deposit("ann", 1)
        self.assertEqual(self.ledger.balance("ann"), 1001)

    def test_deposit_of_nothing_is_refused(self):
        with self.assertRaises(ValueError):
            self.ledger.deposit("ann", 0)

    def test_withdraw_everything(self):
        self.ledger.withdraw("ann", 1000)
        self.assertEqual(self.ledger.balance("ann"), 0)

    def test_withdraw_too_much(self):
        with self.assertRaises(ValueError):
            self.ledger.withdraw("ann", 1001)
        self.assertEqual(self.ledger.balance("ann"), 1000)

    def test_withdraw_a_negative_amount(self):
        with self.assertRaises(ValueError):
            self.ledger.withdraw("ann", -5)

    def test_transfer_with_fee(self):
        self.assertEqual(self.ledger.transfer("ann", "bob", 500), 5)
        self.assertEqual((self.ledger.balance("ann"), self.ledger.balance("bob")), (495, 500))

    def test_least_fee(self):
        self.assertEqual(self.ledger.transfer("ann", "bob", 50), 1)

    def test_transfer_up_to_the_last_cent(self):
        self.assertEqual(self.ledger.transfer("ann", "bob", 991), 9)
        self.assertEqual(self.ledger.balance("ann"), 0)

    def test_transfer_is_all_or_nothing(self):
        with self.assertRaises(ValueError):
            self.ledger.transfer("ann", "bob", 1000)
        self.assertEqual((self.ledger.balance("ann"), self.ledger.balance("bob")), (1000, 0))
