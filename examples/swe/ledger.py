class Ledger:
    def __init__(self):
        self.accounts = {}

    def balance(self, name):
        return self.accounts.get(name, 0)

    def deposit(self, name, cents):
        if cents <= 0:
            raise ValueError("a deposit is positive")
        self.accounts[name] = self.balance(name) + cents

    def withdraw(self, name, cents):
        if cents <= 0:
            raise ValueError("a withdrawal is positive")
        if self.balance(name) < cents:
            raise ValueError("not enough money")
        self.accounts[name] = self.balance(name) - cents

    def transfer(self, source, target, cents):
        fee = max(1, cents // 100)
        if cents <= 0 or self.balance(source) < cents + fee:
            raise ValueError("no such transfer")
        self.withdraw(source, cents + fee)
        self.deposit(target, cents)
        return fee
