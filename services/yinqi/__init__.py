"""yinqi (银企): open bank-enterprise direct connect."""
